import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";

const BIN = fileURLToPath(new URL("../../bin/explore.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "explore-"));
afterAll(() => rmSync(folder, { recursive: true }));

const file = join(folder, "bodies.mjs");
writeFileSync(
  file,
  `export function lost(x) {
  const counter = x.shared("counter", 0);
  for (const name of ["ann", "bob"]) x.task(name, async () => counter.set((await counter.get()) + 1));
  x.finally(() => {
    if (counter.current !== 2) throw new Error("an update is lost");
  });
}
export function fine(x) {
  for (const name of ["ann", "bob"]) x.task(name, async () => x.step());
}
export function foreign(x) {
  x.task("ann", async () => {
    await null;
  });
}
export const limit = 3;
`,
);

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

it("explores every exported function, and the worst verdict is the exit code", () => {
  const { code, stdout } = run(file);
  expect(code).toBe(1);
  expect(stdout).toContain("lost: FAILED: 1 failure");
  expect(stdout).toContain("fine: PROVED");
  expect(run(file, "--only", "fine")).toMatchObject({ code: 0, stderr: "" });
  expect(run(file, "--only", "fine", "--max-executions", "1")).toMatchObject({ code: 3, stderr: "" });
});

it("ends with 4 where something was met that cannot be explored, and says where", () => {
  const { code, stdout, stderr } = run(file, "--only", "foreign");
  expect({ code, stderr }).toEqual({ code: 4, stderr: "" });
  expect(stdout).toMatch(/^foreign: UNKNOWN/m);
  expect(stdout).toMatch(/ann .*bodies\.mjs:\d+/);
  const [report] = JSON.parse(run(file, "--only", "foreign", "--json").stdout) as [{ verdict: string }];
  expect(report.verdict).toBe("unknown");
  expect(run(file).code).toBe(1); // "lost" fails: that is worse
});

it("prints reports as JSON, and replays the schedule that a failure came with", () => {
  const { code, stdout } = run(file, "--only", "lost", "--json");
  expect(code).toBe(1);
  const [report] = JSON.parse(stdout) as [{ name: string; failures: { schedule: string }[] }];
  expect(report.name).toBe("lost");
  const replayed = run(file, "--only", "lost", "--replay", report.failures[0]!.schedule);
  expect(replayed.code).toBe(1);
  expect(replayed.stdout).toContain("an update is lost");
});

it("says what is wrong with a command line, and exits with 2", () => {
  const wrong = { code: 2, stdout: "" };
  expect(run()).toEqual({ ...wrong, stderr: "error: which file? (--help shows how to use it)\n" });
  expect(run(file, "--only", "none")).toEqual({
    ...wrong,
    stderr: 'error: no exported function is called "none"\n',
  });
  expect(run(file, "--replay", "0")).toEqual({
    ...wrong,
    stderr: "error: --replay: there are 3 bodies; choose one by --only\n",
  });
  expect(run(file, "--max-executions", "many")).toMatchObject(wrong);
  expect(run(file, "--fast")).toMatchObject(wrong);
  expect(run("--help").stdout).toContain("Usage: explore");
});

it("a module that is not there, or does not load, is a failure that says so", () => {
  expect(run(join(folder, "none.mjs"))).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("none.mjs") as string,
  });
});
