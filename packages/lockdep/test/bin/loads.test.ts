import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { scratch } from "../support/command.js";

const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));

/** Files that a program loads, as V8's coverage lists them. */
function loadedBy(...args: string[]): string[] {
  using folder = scratch();
  const { status } = spawnSync(process.execPath, args, {
    env: { ...process.env, NODE_V8_COVERAGE: folder.file("coverage") },
  });
  expect(status).toBe(0);
  const [report] = readdirSync(folder.file("coverage"));
  const { result } = JSON.parse(readFileSync(folder.file(`coverage/${report!}`), "utf8")) as {
    result: { url: string }[];
  };
  return result
    .filter(({ url }) => url.startsWith("file:"))
    .map(({ url }) => realpathSync(fileURLToPath(url)).replace(PACKAGE, ""));
}

it("whoever imports the locks loads nothing of the command, and nothing of others", () => {
  const files = loadedBy(`${PACKAGE}dist/index.js`);
  expect(files).toContain("dist/index.js");
  expect(files.filter((file) => file.includes("node_modules/") || file.startsWith("dist/bin/"))).toEqual([]);
});

it("lockdep --help loads neither the locks nor what the commands need", () => {
  const files = loadedBy(`${PACKAGE}bin/lockdep.js`, "--help");
  const own = files.filter((file) => !file.includes("node_modules/commander/"));
  expect(own.sort()).toEqual(
    [
      "bin/lockdep.js",
      ...["command", "errors", "main", "output", "run", "style"].map((name) => `dist/bin/${name}.js`),
      "dist/visible/index.js",
    ].sort(),
  );
});
