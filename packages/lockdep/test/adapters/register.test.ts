import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const dist = fileURLToPath(new URL("../../dist", import.meta.url));

/** Runs a program as its user would, and gives what it prints. */
function run(
  program: string,
  env: NodeJS.ProcessEnv = {},
): { stdout: string; stderr: string; status: number | null } {
  const code = `
    import { lockdep, Mutex } from "${dist}/index.js";
    import { currentTask } from "${dist}/node/index.js";
    import http from "node:http";
    import { EventEmitter } from "node:events";
    ${program}`;
  const args = ["--import", `${dist}/register/index.js`, "--input-type=module", "-e", code];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
}

describe("--import @vfiokit/lockdep/register", () => {
  it("gives each HTTP request a task of its own, found across awaits", () => {
    const { stdout, stderr } = run(`
      const server = http.createServer(async (request, response) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        response.end(currentTask().name + " " + currentTask().id);
      });
      await new Promise((resolve) => server.listen(0, resolve));
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const get = (path) => new Promise((resolve) => http.get(
        { port: server.address().port, path, agent },
        async (response) => resolve((await response.toArray()).join("")),
      ));
      const [one, two] = [await get("/one?x=1"), await get("/two")];
      console.log(one.replace(/ \\d+$/, ""), "|", two.replace(/ \\d+$/, ""), "|", one.split(" ")[2] !== two.split(" ")[2]);
      server.close(); agent.destroy();`);
    expect(stderr).toBe("");
    expect(stdout.trim()).toBe("GET /one | GET /two | true");
  });

  it("gives timers and event handlers a task, and keeps timers what they are", () => {
    const { stdout, stderr } = run(`
      import { promisify } from "node:util";
      const emitter = new EventEmitter();
      emitter.on("ready", () => console.log(currentTask().name));
      setTimeout(function tick() { console.log(currentTask().name, ...arguments); emitter.emit("ready"); }, 1, "x");
      console.log(await promisify(setTimeout)(5, "promisified"));
      const immediate = setImmediate(() => console.log("never"));
      clearImmediate(immediate);
      emitter.emit("ready");`);
    expect(stderr).toBe("");
    expect(stdout.trim().split("\n")).toEqual([
      "setTimeout tick x",
      "setTimeout tick",
      "promisified",
      "on ready",
    ]);
  });

  it("warns of an order that timers contradict", () => {
    const { stderr } = run(
      `
      const [a, b] = [new Mutex("a"), new Mutex("b")];
      const nest = (x, y) => async () => { using _x = await x.acquire(currentTask()); using _y = await y.acquire(currentTask()); };
      setTimeout(nest(a, b), 1);
      setTimeout(nest(b, a), 5);`
        .replaceAll(/using (_\w) = await (\w)\.acquire\(currentTask\(\)\);/g, "await $2.lock(currentTask());")
        .replaceAll(" };", " y.unlock(currentTask()); x.unlock(currentTask()); };"),
    );
    expect(stderr).toContain("possible circular locking dependency detected");
  });

  it("reports a lock that a timer's callback leaves behind", () => {
    const { stderr } = run(`
      const a = new Mutex("a");
      setTimeout(async function leaky() { await a.lock(currentTask()); }, 1);`);
    expect(stderr).toMatch(/setTimeout leaky\/\d+ still has locks held!/);
  });

  it.each([
    [{ LOCKDEP: "loud" }, 'LOCKDEP="loud": warn, throw or off'],
    [{ LOCKDEP_WAIT_TIMEOUT: "soon" }, 'LOCKDEP_WAIT_TIMEOUT="soon": milliseconds, 0 for never'],
  ])("refuses %o", (env, message) => {
    const { stderr, status } = run("", env);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
  });

  it("does nothing with LOCKDEP=off", () => {
    const { stdout } = run("console.log(lockdep.mode)", { LOCKDEP: "off" });
    expect(stdout.trim()).toBe("off");
  });
});
