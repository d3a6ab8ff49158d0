import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { Vfiokit } from "./vfiokit.js";

it("vfiokit demo: everything that it claims holds, and nothing is left behind", async () => {
  const { code, stdout, stderr } = await Vfiokit.run("demo");
  expect(stderr).toBe("");
  expect(code).toBe(0);
  expect(stdout.match(/^ {2}✓ /gm)).toHaveLength(12);
  const servers = [...stdout.matchAll(/process (\d+) at (\S+)/g)];
  expect(servers).toHaveLength(2);
  for (const [, pid, socket] of servers) {
    expect(() => process.kill(Number(pid), 0)).toThrow(/ESRCH/);
    expect(existsSync(socket!)).toBe(false);
  }
});

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
