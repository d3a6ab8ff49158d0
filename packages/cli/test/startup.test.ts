import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { scratch } from "./vfiokit.js";

const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));

/** Files that a command line loads, as V8's coverage lists them. */
function loadedBy(...args: string[]): string[] {
  using coverage = scratch();
  const { status } = spawnSync(process.execPath, [`${PACKAGES}cli/bin/vfiokit.js`, ...args], {
    env: { ...process.env, NODE_V8_COVERAGE: coverage.path },
  });
  expect(status).toBe(0);
  const [report] = readdirSync(coverage.path);
  const { result } = JSON.parse(readFileSync(coverage.file(report!), "utf8")) as {
    result: { url: string }[];
  };
  const files = result
    .filter(({ url }) => url.startsWith("file:"))
    .map(({ url }) => realpathSync(fileURLToPath(url)));
  return files.filter((file) => !file.includes("/node_modules/commander/"));
}

const BASE = [
  "cli/bin/vfiokit.js",
  "cli/dist/main.js",
  "cli/dist/program.js",
  "cli/dist/version.js",
  "lockdep/dist/bin/errors.js",
  "lockdep/dist/bin/index.js",
  "lockdep/dist/bin/output.js",
  "lockdep/dist/bin/run.js",
  "lockdep/dist/bin/style.js",
  "lockdep/dist/visible/index.js",
];

it.each([["--version"], ["--help"]])("vfiokit %s loads no command, and nothing of the devices", (option) => {
  expect(loadedBy(option).sort()).toEqual(BASE.map((name) => PACKAGES + name));
});

it("vfiokit lockdep loads nothing of PCI", () => {
  const files = loadedBy("lockdep", "--help");
  expect(files.some((file) => file.includes("/packages/lockdep/"))).toBe(true);
  expect(files.filter((file) => /\/packages\/(core|user|devices|lab|explore)\//.test(file))).toEqual([]);
});

it("the help of vfiokit serve loads no device, no server and no log", () => {
  const files = loadedBy("serve", "serial", "--help");
  expect(files.filter((file) => /\/packages\/(core|user|devices)\/|\/node_modules\//.test(file))).toEqual([]);
});
