import { readdirSync, readFileSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { documents, exists, root } from "./markdown.js";

const read = (path: string) => readFileSync(`${root}/${path}`, "utf8");

function sources(folder: string): string[] {
  const names = readdirSync(`${root}/${folder}`, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".ts")).map((name) => `${folder}/${name}`);
}

describe.each(documents())("%s", (page) => {
  const text = read(page);
  const folder = page.includes("/") ? page.slice(0, page.lastIndexOf("/") + 1) : "";

  it("links to what exists", () => {
    const targets = [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)].map((match) => match[1]!);
    expect(targets.filter((target) => !exists(folder + target))).toEqual([]);
  });

  it("links to what the repository has at its address", () => {
    const { homepage } = JSON.parse(read("package.json")) as { homepage: string };
    const targets = [...text.matchAll(/\]\((https?:[^)#\s]+)[^)]*\)/g)].map((match) => match[1]!);
    const own = targets.filter((target) => target.startsWith(`${homepage}/`));
    const paths = own.map((target) => /\/(?:blob|tree|raw)\/main\/(.*)$/.exec(target)?.[1] ?? target);
    expect(paths.filter((path) => !exists(path))).toEqual([]);
  });

  it("names files that exist", () => {
    const paths = text.match(/(?<![\w/.-])(packages|docs|test|examples|scripts)\/[\w./-]*\w/g) ?? [];
    expect(
      [...new Set(paths)].filter(
        (path) => !path.includes("/dist/") && !exists(path) && !exists(folder + path),
      ),
    ).toEqual([]);
  });
});

describe("docs/architecture.md", () => {
  const text = read("docs/architecture.md");
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));

  it("has the packages and what they import", () => {
    const documented = rows
      .map((row) => row.split("|").map((cell) => cell.trim()))
      .filter((cells) => cells[2]?.startsWith("packages/") && !cells[2].includes(".ts"))
      .map(([, name, folder, imports]) => ({
        name: name!.replaceAll("`", ""),
        folder,
        imports: imports === "nothing" ? [] : imports!.split(", ").sort(),
      }));
    const actual = readdirSync(`${root}/packages`).map((folder) => {
      const { name, dependencies = {} } = JSON.parse(read(`packages/${folder}/package.json`)) as {
        name: string;
        dependencies?: Record<string, string>;
      };
      const imports = Object.keys(dependencies).filter((dependency) => dependency.startsWith("@vfiokit/"));
      return {
        name,
        folder: `packages/${folder}`,
        imports: imports.map((dependency) => dependency.replace("@vfiokit/", "")).sort(),
      };
    });
    const byFolder = (a: { folder: string | undefined }, b: { folder: string | undefined }) =>
      a.folder! < b.folder! ? -1 : 1;
    expect(documented.sort(byFolder)).toEqual(actual.sort(byFolder));
  });

  it("has the locks of the core", () => {
    const documented = rows
      .map((row) => row.split("|").map((cell) => cell.trim()))
      .filter((cells) => cells[2] === "Mutex" || cells[2] === "RwSemaphore")
      .map((cells) => `${cells[2]!} ${cells[1]!.replaceAll("`", "")} ${cells[4]!}`);
    const actual = sources("packages/core/src").flatMap((path) =>
      [...read(path).matchAll(/new (Mutex|RwSemaphore)\("([^"]+)"/g)].map(
        ([, kind, name]) => `${kind!} ${name!} ${path}`,
      ),
    );
    expect(documented.sort()).toEqual(actual.sort());
  });
});

describe("CONTRIBUTING.md", () => {
  const [, table] = /^## Where do I add …\n([^]*?)^## /m.exec(read("CONTRIBUTING.md"))!;
  const rows = [...table!.matchAll(/^\| (an? [^|]*?) +\| \[([^\]]+)\]\(([^)]+)\)/gm)].map((match) =>
    match.slice(1),
  );
  const [, places] = /^## Where to change what\n([^]*)/m.exec(read("docs/architecture.md"))!;

  it("says where to add each thing", () => {
    expect(rows.map(([what]) => what)).toEqual([
      "a reset path",
      "a vfio-user command",
      "a capability",
      "a device",
      "a lock primitive",
      "a command",
    ]);
  });

  it.each(rows)("%s is added in a folder that the architecture names, too", (_what, folder, target) => {
    expect(target).toBe(folder);
    expect(statSync(`${root}/${folder}`).isDirectory()).toBe(true);
    expect(places).toContain(folder);
  });
});
