import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cycles, folderOf, graph, imports } from "./import-graph.js";
import { root } from "./markdown.js";

// What docs/architecture.md says of imports is what the sources import.

const rows = readFileSync(`${root}/docs/architecture.md`, "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

const list = (cell: string): string[] => (cell === "nothing" ? [] : cell.split(", ").sort());
const packageOf = (file: string) => /^packages\/(\w+)\//.exec(file)![1]!;
/** "core/dma"; files of src itself are of no folder. */
const folder = (file: string) => /^packages\/(\w+)\/src\/([\w-]+)\//.exec(file)?.slice(1).join("/");

describe("imports", () => {
  it("of packages are those of the table: types count as well", () => {
    const documented = rows.filter((cells) => cells.length === 5 && /^packages\/\w+$/.test(cells[1]!));
    expect(documented).toHaveLength(folderOf.size);
    const actual = graph(imports, packageOf);
    for (const [name, path, targets] of documented)
      expect([...(actual.get(packageOf(`${path!}/`)) ?? [])].sort(), name).toEqual(list(targets!));
  });

  it("between the folders of a package are those of the table: what is left of them when they run", () => {
    const documented = rows
      .filter((cells) => cells.length === 3 && folderOf.has(`@vfiokit/${cells[0]!}`))
      .map(([name, from, targets]) => `${name!}/${from!}: ${list(targets!).join(", ")}`);
    const values = imports.filter(({ value, from, to }) => value && to && packageOf(from) === packageOf(to));
    const actual = [...graph(values, folder)]
      .filter(([, targets]) => targets.size > 0)
      .map(([from, targets]) => {
        const names = [...targets].map((target) => target.split("/")[1]!);
        return `${from}: ${names.sort().join(", ")}`;
      });
    expect(documented.sort()).toEqual(actual.filter((line) => !line.startsWith("cli/")).sort());
  });

  it("have no cycle of files that wait for each other to be loaded", () => {
    const eager = imports.filter(({ value, eager }) => value && eager);
    expect(cycles(graph(eager, (file) => file))).toEqual([]);
  });

  it("have no cycle of folders: what is left of them when they run", () => {
    const values = imports.filter(({ value, from, to }) => value && to && packageOf(from) === packageOf(to));
    expect(cycles(graph(values, folder))).toEqual([]);
  });

  it("would show a cycle", () => {
    const edges = new Map([
      ["a", new Set(["b"])],
      ["b", new Set(["c"])],
      ["c", new Set(["b"])],
    ]);
    expect(cycles(edges)).toEqual(["b -> c -> b"]);
  });

  it("of the command's folders go to shared, and to the few that are named", () => {
    const values = imports.filter(({ value, from, to }) => value && to && packageOf(from) === "cli");
    const sideways = [...graph(values, folder)].flatMap(([from, targets]) =>
      [...targets]
        .filter((target) => target.startsWith("cli/") && target !== "cli/shared" && from.startsWith("cli/"))
        .map((target) => `${from} -> ${target}`),
    );
    const documented = rows
      .filter((cells) => cells.length === 3 && cells[0] === "cli")
      .flatMap(([name, from, targets]) => list(targets!).map((to) => `${name!}/${from!} -> cli/${to}`));
    expect(sideways.sort()).toEqual(documented.sort());
  });
});
