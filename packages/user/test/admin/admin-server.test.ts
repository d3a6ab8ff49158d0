import { readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Task } from "@vfiokit/lockdep";
import { AdminClient, AdminServer, DeviceAdmin } from "@vfiokit/user";
import { openFds } from "@vfiokit/user/linux";
import { testDevice } from "../server/support.js";
import { RawAdmin, scratch } from "./support.js";

// The control socket, byte by byte.

function setUp() {
  const dir = scratch();
  const path = dir.file("device.ctl");
  const { device, fn } = testDevice();
  const log: string[] = [];
  const admin = new DeviceAdmin(device);
  const server = new AdminServer(admin, {
    socketPath: path,
    log: (level, message) => log.push(`${level}: ${message}`),
  });
  server.listen();
  return { dir, path, device, fn, admin, server, log };
}

let now: ReturnType<typeof setUp>;
let fdsBefore = 0;
beforeEach(() => {
  fdsBefore = openFds();
  now = setUp();
});
afterEach(async () => {
  await now.server.close();
  await now.device.close(new Task("test"));
  now.dir[Symbol.dispose]();
  expect(openFds()).toBeLessThanOrEqual(fdsBefore + 1); // the reactor's own
});

const raw = () => new RawAdmin(now.path);
const failure = (message: string) => ({ error: { errno: 22, code: "EINVAL", message } });

describe("the socket", () => {
  it("is for this user only", () => {
    expect(statSync(now.path).mode & 0o777).toBe(0o600);
  });

  it("replaces what a dead server left, and nothing else", async () => {
    const { admin, dir } = now;
    const other = dir.file("other.ctl");
    writeFileSync(other, "precious");
    expect(() => new AdminServer(admin, { socketPath: other }).listen()).toThrow(/EADDRINUSE.*is no socket/);
    expect(() => new AdminServer(admin, { socketPath: now.path }).listen()).toThrow(
      /EADDRINUSE.*another server listens there/,
    );
    using client = new AdminClient(now.path);
    expect((await client.request({ command: "info" })).name).toBe("test");
  });

  it("is gone after close, and so are its connections", async () => {
    using admin = raw();
    await admin.ask({ command: "info" });
    await now.server.close();
    expect(await admin.line()).toBeUndefined();
    expect(readdirSync(now.dir.path)).toEqual([]);
  });

  it("16 silent connections do not lock the administrator out: the longest silent makes way", async () => {
    const all = Array.from({ length: 16 }, raw);
    for (const admin of all) expect(await admin.ask({ command: "pause" })).toHaveProperty("result");
    using late = raw();
    expect(await late.ask({ command: "info" })).toHaveProperty("result");
    expect(await all[0]!.line()).toBeUndefined();
    expect(await all[1]!.ask({ command: "info" })).toHaveProperty("result");
    for (const admin of all) admin.hangUp();
  });

  it("16 whose requests are being carried out stay, and another one is turned away", async () => {
    const { device, log } = now;
    const task = new Task("test");
    void device.deviceLock.lock(task);
    const all = Array.from({ length: 16 }, raw);
    for (const admin of all) admin.send('{"command":"reset"}\n');
    await expect.poll(() => now.admin.tasks().length).toBeGreaterThanOrEqual(16);
    using late = raw();
    expect(await late.line()).toBeUndefined();
    expect(log.at(-1)).toContain("and busy: another one was turned away");
    device.deviceLock.unlock(task);
    for (const admin of all) expect(await admin.reply()).toHaveProperty("result");
    for (const admin of all) admin.hangUp();
  });
});

describe("requests", () => {
  it("are answered in order, also when they arrive together or in pieces", async () => {
    using admin = raw();
    admin.send('{"command":"pause"}\n{"command":"info"}\r\n{"comm');
    expect(await admin.reply()).toEqual({ result: { paused: true } });
    expect(await admin.reply()).toMatchObject({ result: { name: "test", paused: true } });
    for (const byte of 'and":"resume"}\n') {
      admin.send(byte);
      await new Promise(setImmediate);
    }
    expect(await admin.reply()).toEqual({ result: { paused: false } });
  });

  it("are answered to somebody who sends nothing more, and without a newline at the end", async () => {
    using admin = raw();
    admin.socket.end('{"command":"info"}');
    expect(await admin.reply()).toMatchObject({ result: { name: "test" } });
    expect(await admin.line()).toBeUndefined();
  });

  it("are logged with who asked; at level debug if they only look", async () => {
    using admin = raw();
    await admin.ask({ command: "tasks" });
    const who = `process ${process.pid} of user ${process.getuid!()}`;
    await admin.ask({ command: "inject", error: "fatal" });
    await admin.ask({ command: "hand-over", step: "status" });
    await admin.ask({ command: "hand-over", step: "take-back", id: "0".repeat(32) });
    expect(now.log).toEqual([
      `debug: ${who} asks for tasks`,
      `info: ${who} asks for inject fatal`,
      `debug: ${who} asks for hand-over status`,
      `info: ${who} asks for hand-over take-back ${"0".repeat(32)}`,
    ]);
  });

  it("that fail are answered with errno and message", async () => {
    using admin = raw();
    await admin.ask({ command: "remove" });
    expect(await admin.ask({ command: "reset" })).toEqual({
      error: { errno: 19, code: "ENODEV", message: expect.stringMatching(/removed/) as unknown },
    });
  });

  it("that meet a bug are answered with EIO, and the log has it", async () => {
    now.admin.info = () => {
      throw new TypeError("a bug in the test");
    };
    using admin = raw();
    expect(await admin.ask({ command: "info" })).toMatchObject({ error: { code: "EIO" } });
    expect(now.log.join()).toMatch(/a bug: TypeError: a bug in the test/);
    expect(await admin.ask({ command: "pause" })).toEqual({ result: { paused: true } });
  });
});

describe("what is wrong with a request", () => {
  const commands =
    "info, reset, hot-reset, inject, remove, pause, resume, tasks, migration, stream, hand-over";

  it.each([
    ["no JSON", "reset", 'request "reset": not JSON'],
    ["an empty line", "", 'request "": not JSON'],
    ["an array", '["reset"]', `request ${JSON.stringify('["reset"]')}: not a JSON object`],
    ["null", "null", 'request "null": not a JSON object'],
    ["no command", "{}", `field "command" is missing: one of ${commands}`],
    ["an unknown command", '{"command":"explode"}', `command "explode": one of ${commands}`],
    ["a command that is no string", '{"command":[1]}', `command [1]: one of ${commands}`],
    ["a name of Object's", '{"command":"toString"}', `command "toString": one of ${commands}`],
    ["no error", '{"command":"inject"}', 'field "error" is missing: one of correctable, nonfatal, fatal'],
    [
      "an unknown error",
      '{"command":"inject","error":"big"}',
      'error "big": one of correctable, nonfatal, fatal',
    ],
    [
      "no step",
      '{"command":"hand-over"}',
      'field "step" is missing: one of prepare, activate, discard, give, take-back, status',
    ],
    [
      "a step without an id",
      '{"command":"hand-over","step":"give"}',
      'field "id" is missing: 32 hexadecimal digits, lower case',
    ],
    [
      "an id that is too short",
      '{"command":"hand-over","step":"status","id":"12"}',
      'id "12": 32 hexadecimal digits, lower case',
    ],
    [
      "a field too many",
      '{"command":"inject","error":"fatal","x":1}',
      'field "x": inject takes command and error',
    ],
    [
      "a field where there are none",
      '{"command":"info","__proto__":1}',
      'field "__proto__": info takes command',
    ],
  ])("%s", async (_name, line, message) => {
    using admin = raw();
    admin.send(`${line}\n`);
    expect(await admin.reply()).toEqual(failure(message));
    // The connection goes on.
    expect(await admin.ask({ command: "info" })).toHaveProperty("result");
  });

  it("a long one, which the answer cuts", async () => {
    using admin = raw();
    admin.send(`${"x".repeat(4000)}\n`);
    expect(await admin.reply()).toEqual(failure(`request "${"x".repeat(59)}…: not JSON`));
  });

  it("bytes that are not UTF-8", async () => {
    using admin = raw();
    admin.send(Uint8Array.of(0xff, 0xfe, 0x0a));
    expect(await admin.reply()).toEqual(failure("request of 2 bytes: not UTF-8"));
  });

  it("a line without an end: EMSGSIZE at 4097 bytes, and the connection is over", async () => {
    using fits = raw();
    fits.send(`${" ".repeat(4096 - 18)}{"command":"info"}\n`);
    expect(await fits.reply()).toHaveProperty("result");
    using admin = raw();
    admin.send(" ".repeat(4097));
    expect(await admin.reply()).toEqual({
      error: { errno: 90, code: "EMSGSIZE", message: "a line has at most 4096 bytes" },
    });
    expect(await admin.line()).toBeUndefined();
  });

  it("any bytes: every line gets one reply or the connection ends, and the server lives", async () => {
    const line = fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0x0a))),
      fc.json({ maxDepth: 3 }).map((text) => Buffer.from(text)),
      fc
        .record(
          {
            command: fc.oneof(fc.constantFrom("info", "pause", "resume", "tasks", "inject"), fc.anything()),
            error: fc.oneof(fc.constantFrom("fatal", "correctable"), fc.anything()),
          },
          { requiredKeys: [] },
        )
        .map((value) => {
          try {
            return Buffer.from(JSON.stringify(value));
          } catch {
            return Buffer.from("{}"); // a bigint
          }
        }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { minLength: 1, maxLength: 10 }), async (lines) => {
        using admin = raw();
        for (const bytes of lines) admin.send(Buffer.concat([bytes, Buffer.from("\n")]));
        for (const _ of lines) {
          const reply = await admin.reply();
          const isReply =
            reply !== undefined &&
            (Object.hasOwn(reply as object, "result") || Object.hasOwn(reply as object, "error"));
          expect(isReply).toBe(true);
        }
        expect(await admin.ask({ command: "info" })).toHaveProperty("result");
      }),
      { numRuns: 60 },
    );
    expect(now.log.filter((entry) => entry.startsWith("error"))).toEqual([]);
  });
});

describe("somebody who hangs up", () => {
  /** A reset that waits for another one, which `finish` ends. */
  async function waitingReset() {
    const task = new Task("other");
    void now.device.deviceLock.lock(task);
    const admin = raw();
    admin.send('{"command":"reset"}\n');
    while (now.device.deviceLock.waiters().length === 0) await new Promise(setImmediate);
    return { admin, finish: () => now.device.deviceLock.unlock(task) };
  }

  it("cancels what waits for a lock on his behalf", async () => {
    const { admin, finish } = await waitingReset();
    admin.hangUp();
    while (now.device.deviceLock.waiters().length > 0) await new Promise(setImmediate);
    finish();
    expect(now.device.generation).toBe(0);
    expect(now.admin.tasks()).toEqual([]);
  });

  it("does not when he only sends nothing more", async () => {
    const { admin, finish } = await waitingReset();
    admin.socket.end();
    using other = raw();
    expect(await other.ask({ command: "tasks" })).toMatchObject({
      result: { tasks: [{ name: "other" }, { name: "admin reset", waits: [{ lock: "deviceLock" }] }] },
    });
    finish();
    expect(await admin.reply()).toEqual({ result: { generation: 1 } });
    expect(await admin.line()).toBeUndefined();
  });

  it("so does the server's close: it does not wait for others", async () => {
    const { finish } = await waitingReset();
    await now.server.close();
    expect(now.device.deviceLock.waiters()).toEqual([]);
    finish();
    expect(now.device.generation).toBe(0);
  });

  it("before he has read the replies: they wait in the server, without limit in time and with one in size", async () => {
    using admin = raw();
    admin.socket.pause();
    for (let i = 0; i < 5000; i++) admin.send('{"command":"info"}\n');
    using other = raw();
    expect(await other.ask({ command: "info" })).toHaveProperty("result");
    admin.socket.resume();
    for (let i = 0; i < 5000; i++) expect(await admin.line()).toBeDefined();
  });
});

describe("AdminClient", () => {
  it("has what the server answers, typed", async () => {
    using client = new AdminClient(now.path);
    const { state, sessionOpen } = await client.request({ command: "migration" });
    expect([state, sessionOpen]).toEqual(["RUNNING", false]);
    await client.request({ command: "remove" });
    await expect(client.request({ command: "pause" })).rejects.toMatchObject({
      name: "VfioError",
      code: "ENODEV",
      errno: 19,
      message: "ENODEV: test was removed",
    });
  });

  it.each([
    ["binary", Buffer.from([0, 1, 2, 10]), /EPROTO.*is it a control socket/],
    ["JSON without a result", Buffer.from("{}\n"), /EPROTO.*neither a result nor an error/],
    ["an error that is none", Buffer.from('{"error":{"code":"E","message":"m"}}\n'), /EPROTO/],
    ["nothing", Buffer.alloc(0), /ECONNRESET/],
  ])("tells that somebody else is at the other end: %s", async (_name, answer, message) => {
    const path = now.dir.file("else");
    const server = createServer((socket) => {
      socket.resume();
      socket.end(answer);
    }).listen(path);
    await new Promise((resolve) => server.once("listening", resolve));
    using client = new AdminClient(path);
    await expect(client.request({ command: "info" })).rejects.toThrow(message);
    server.close();
  });

  it("tells that nobody is there", () => {
    expect(() => new AdminClient(now.dir.file("none"))).toThrow(/ENOENT/);
  });
});
