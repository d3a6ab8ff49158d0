import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { Vfiokit } from "./vfiokit.js";

it("vfiokit demo: everything that it claims holds, and nothing is left behind", async () => {
  const { code, stdout, stderr } = await Vfiokit.run("demo");
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.match(/^ {2}✓ /gm)).toHaveLength(15);
  const servers = [...stdout.matchAll(/process (\d+) at (\S+)/g)];
  expect(servers).toHaveLength(2);
  for (const [, pid, socket] of servers) {
    expect(() => process.kill(Number(pid), 0)).toThrow(/ESRCH/);
    expect(existsSync(socket!)).toBe(false);
  }
  // The laboratory at its end: every design that is known to fail does, on what can be replayed.
  expect(stdout).toMatch(/^ +locked +deferred +callback +release +generation$/m);
  expect(stdout).toMatch(/^ +no-deadlock( +FAIL [\d,]+){4} +pass [\d,]+$/m);
  const [, counterexample] = /vfiokit lab replay '([^']+)'/.exec(stdout)!;
  expect((await Vfiokit.run("lab", "replay", counterexample!)).stdout).toMatch(/deadlock/);
}, 60_000);

it("interrupted, it takes its servers and its files with it", async () => {
  await using demo = Vfiokit.start(["demo"]);
  const [, pid, socket] = await demo.says(/process (\d+) at (\S+)\n/);
  expect(await demo.kill("SIGINT")).toBe(130);
  while (isAlive(Number(pid))) await new Promise((resolve) => setImmediate(resolve));
  expect(existsSync(socket!)).toBe(false);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
