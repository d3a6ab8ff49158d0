import { afterAll, beforeAll, expect, it } from "vitest";
import { scratch, Vfiokit } from "./vfiokit.js";

// A server that was stopped (SIGSTOP) accepts connections and says nothing.
const dir = scratch();
const path = dir.file("stopped.sock");
const other = dir.file("other.sock");
const image = dir.file("image");
let server: Vfiokit;
let target: Vfiokit;

beforeAll(async () => {
  const serve = (at: string) => Vfiokit.start(["serve", "counter", "--functions", "1", "--socket-path", at]);
  server = serve(path);
  target = serve(other);
  for (const one of [server, target]) await one.says(/\n/);
  expect(await Vfiokit.run("save", other, image)).toMatchObject({ code: 0 });
  server.child.kill("SIGSTOP");
});
afterAll(async () => {
  server.child.kill("SIGCONT");
  for (const one of [server, target]) await one.kill("SIGTERM");
  dir[Symbol.dispose]();
});

it.each([
  ["ctl info", ["ctl", path, "info"]],
  ["info", ["info", path]],
  ["save", ["save", path, dir.file("none")]],
  ["restore", ["restore", image, path]],
  ["restore --dry-run", ["restore", image, path, "--dry-run"]],
  ["migrate from it", ["migrate", path, other]],
  ["migrate to it", ["migrate", other, path]],
])("%s of a server that does not answer: one line after --timeout, naming it", async (_name, args) => {
  const { code, stderr } = await Vfiokit.run(...args, "--timeout", "0.5");
  expect(code).toBe(1);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain(path);
  expect(stderr).toMatch(/no answer within 0\.5 s|has not answered in 500 ms/);
});

it("--timeout 0 is wrong usage", async () => {
  expect((await Vfiokit.run("info", path, "--timeout", "0")).code).toBe(2);
});
