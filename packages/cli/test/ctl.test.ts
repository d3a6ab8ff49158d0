import { once } from "node:events";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { IrqIndex } from "@vfiokit/core";
import { VfioUserClient } from "@vfiokit/user";
import { formatResult } from "../src/ctl/format.js";
import { Style } from "../src/style.js";
import { scratch, Vfiokit } from "./vfiokit.js";

async function serving(...args: string[]): Promise<Vfiokit> {
  const server = Vfiokit.start(["serve", ...args]);
  await server.says(/\n/);
  return server;
}

const lines = ({ code, stdout }: { code: unknown; stdout: string }) => {
  expect(code).toBe(0);
  return stdout.trimEnd().split("\n");
};

describe("vfiokit serve: the control socket", () => {
  const serial = (path: string, ...args: string[]) =>
    serving("serial", "--socket-path", path, "--chardev", "null", ...args);

  it("is beside the device's, for this user only, and gone at the end", async () => {
    using dir = scratch();
    await using server = await serial(dir.file("s"));
    expect(statSync(dir.file("s.ctl")).mode & 0o777).toBe(0o600);
    await server.says(/To administer it: vfiokit ctl \S+\/s info/);
    expect(await server.kill("SIGTERM")).toBe(0);
    expect(readdirSync(dir.path)).toEqual([]);
  });

  it("is gone at the end with an administrator connected, who is told", async () => {
    using dir = scratch();
    await using server = await serial(dir.file("s"));
    const admin = connect(dir.file("s.ctl"));
    admin.write('{"command":"info"}\n');
    await once(admin, "data");
    const closed = once(admin, "close");
    expect(await server.kill("SIGTERM")).toBe(0);
    await closed;
    expect(readdirSync(dir.path)).toEqual([]);
  });

  it("of a killed server is taken over", async () => {
    using dir = scratch();
    await using first = await serial(dir.file("s"));
    await first.kill("SIGKILL");
    await using second = await serial(dir.file("s"));
    expect(await Vfiokit.run("ctl", dir.file("s"), "info")).toMatchObject({ code: 0 });
    await second.kill("SIGTERM");
  });

  it("--no-ctl: there is none", async () => {
    using dir = scratch();
    await using server = await serial(dir.file("s"), "--no-ctl");
    expect(readdirSync(dir.path)).toEqual(["s"]);
    expect(server.stdout).not.toContain("vfiokit ctl");
    const { code, stderr } = await Vfiokit.run("ctl", dir.file("s"), "info");
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*s\.ctl: no control socket there.* \(--control: it is one\)\n$/);
    // The device's own socket has survived that.
    using client = await VfioUserClient.connect(dir.file("s"));
    expect((await client.getInfo()).numRegions).toBe(9);
  });

  it("sends nothing to a socket that has no control socket beside it: libvfio-user's sample ends at JSON", async () => {
    using dir = scratch();
    const got: Buffer[] = [];
    let connections = 0;
    const foreign = createServer((socket) => {
      connections++;
      socket.on("data", (bytes) => got.push(bytes));
    }).listen(dir.file("sample.sock"));
    await once(foreign, "listening");
    for (const command of ["info", "reset", "tasks", "migration"]) {
      const { code, stderr } = await Vfiokit.run("ctl", dir.file("sample.sock"), command);
      expect({ code, stderr }).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("no control socket there") as string,
      });
    }
    expect([connections, got]).toEqual([0, []]);
    foreign.close();
    await once(foreign, "close");
  });

  it("--ctl-path: it is there; --json tells where", async () => {
    using dir = scratch();
    await using server = await serial(dir.file("s"), "--ctl-path", dir.file("admin"), "--json");
    expect(readdirSync(dir.path)).toEqual(["admin", "s"]);
    expect(JSON.parse(server.stdout)).toMatchObject({ socket: dir.file("s"), ctl: dir.file("admin") });
    expect(lines(await Vfiokit.run("ctl", "--control", dir.file("admin"), "info"))[0]).toBe(
      "serial (1b36:0002)",
    );
  });

  it("a file at its path is left alone, and the server does not start", async () => {
    using dir = scratch();
    writeFileSync(dir.file("s.ctl"), "precious");
    const { code, stderr } = await Vfiokit.run("serve", "serial", "--socket-path", dir.file("s"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: .*s\.ctl exists and is no socket$/m);
    expect(readdirSync(dir.path)).toEqual(["s.ctl"]);
  });

  it.each([
    ["--no-ctl and --ctl-path", ["serial", "--socket-path", "s", "--no-ctl", "--ctl-path", "c"], /one of/],
    ["several functions and --fd", ["counter", "--fd", "3"], /--functions 1/],
    ["no functions", ["counter", "--socket-path", "s", "--functions", "0"], /must be 1 to 8/],
  ])("wrong usage: %s", async (_name, args, message) => {
    const { code, stderr } = await Vfiokit.run("serve", ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe("vfiokit serve counter", () => {
  it("one function is at the path itself", async () => {
    using dir = scratch();
    await using server = await serving("counter", "--socket-path", dir.file("c"), "--functions", "1");
    expect(readdirSync(dir.path)).toEqual(["c", "c.ctl"]);
    await server.kill("SIGTERM");
  });

  it("several are at PATH.0 and so on, in one slot of QEMU's", async () => {
    using dir = scratch();
    await using server = await serving(
      "counter",
      "--socket-path",
      dir.file("c"),
      "--functions",
      "2",
      "--ctl-path",
      dir.file("a"),
      "--json",
    );
    expect(readdirSync(dir.path)).toEqual(["a.0", "a.1", "c.0", "c.1"]);
    const { functions, qemu } = JSON.parse(server.stdout) as { functions: unknown; qemu: string[] };
    expect(functions).toEqual([
      { name: "counter.0", socket: dir.file("c.0"), ctl: dir.file("a.0") },
      { name: "counter.1", socket: dir.file("c.1"), ctl: dir.file("a.1") },
    ]);
    const devices = qemu.filter((word) => word.startsWith("{")).map((word) => JSON.parse(word) as unknown);
    expect(devices).toEqual(
      [0, 1].map((number) => ({
        driver: "vfio-user-pci",
        addr: `10.${number}`,
        multifunction: true,
        socket: { type: "unix", path: dir.file(`c.${number}`) },
      })),
    );
  });

  it("does not start where one of the paths is taken, and leaves nothing behind", async () => {
    using dir = scratch();
    writeFileSync(dir.file("c.1"), "precious");
    const { code } = await Vfiokit.run("serve", "counter", "--socket-path", dir.file("c"));
    expect(code).toBe(1);
    expect(readdirSync(dir.path)).toEqual(["c.1"]);
  });
});

describe("vfiokit ctl", () => {
  const dir = scratch();
  const socket = dir.file("card.1");
  let server: Vfiokit;
  beforeAll(async () => {
    server = await serving("counter", "--socket-path", dir.file("card"), "--functions", "2");
  });
  afterAll(async () => {
    expect(await server.kill("SIGTERM")).toBe(0);
    expect(readdirSync(dir.path)).toEqual([]);
    dir[Symbol.dispose]();
  });

  const ctl = (...args: string[]) => Vfiokit.run("ctl", socket, ...args);
  const json = async (...args: string[]) =>
    JSON.parse(lines(await ctl(...args, "--json")).join("")) as unknown;

  it("info, by the device's socket or by the control socket", async () => {
    const expected = [
      "counter.1 (1b36:0102)",
      "client     none",
      "open       0 times",
      "worker     running",
      "resets     0",
      "migration  possible",
      "hot reset  counter.0 counter.1",
    ];
    expect(lines(await ctl("info"))).toEqual(expected);
    expect(lines(await Vfiokit.run("ctl", `${socket}.ctl`, "info"))).toEqual(expected);
    expect(await json("info")).toEqual({
      name: "counter.1",
      id: "1b36:0102",
      connected: false,
      openCount: 0,
      paused: false,
      stopped: [],
      intxMasked: false,
      removed: false,
      faults: { count: 0, failed: false },
      generation: 0,
      migratable: true,
      handOver: { phase: "none" },
      set: ["counter.0", "counter.1"],
    });
  });

  it("reset and hot-reset, in the middle of a migration too", async () => {
    using client = await VfioUserClient.connect(socket);
    await client.migration.setState("STOP_COPY");
    expect(lines(await ctl("migration"))).toEqual(["state    STOP_COPY", "session  open", "resets   0"]);
    expect(lines(await ctl("reset"))).toEqual(["reset; resets so far: 1"]);
    expect(await json("migration")).toEqual({ state: "RUNNING", generation: 1, sessionOpen: false });
    expect(await client.migration.state()).toBe("RUNNING");
    await client.migration.setState("STOP_COPY");
    expect(lines(await ctl("hot-reset"))).toEqual(["reset; resets so far:", "counter.0  1", "counter.1  2"]);
    expect(await client.migration.state()).toBe("RUNNING");
    await expect(client.migration.read(16)).rejects.toMatchObject({ code: "ENODEV" });
  });

  it("hand-over: give and take-back; meanwhile no client is taken, and the log says how to end that", async () => {
    const { instance } = (await json("hand-over", "status")) as { instance: string };
    const id = `${instance}${"0".repeat(16)}`;
    {
      using client = await VfioUserClient.connect(socket);
      await client.migration.setState("STOP_COPY");
      expect(lines(await ctl("hand-over", "give", id))).toEqual([
        "phase   given",
        `id      ${id}`,
        expect.stringMatching(/^since {3}\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        "state   STOP",
        "resets  2",
      ]);
    }
    const info = lines(await ctl("info"));
    expect(info).toContainEqual(expect.stringMatching(new RegExp(`^hand-over {2}given ${id} since 2`)));
    await expect(VfioUserClient.connect(socket)).rejects.toThrow();
    await server.says(
      new RegExp(`was given away .*hand-over ${id}.*vfiokit ctl ${socket} hand-over take-back ${id}`),
      "stderr",
    );
    expect(lines(await ctl("hand-over", "take-back", id))).toEqual([
      "phase    none",
      "outcome  taken back",
      "state    RUNNING",
      "resets   2",
    ]);
    const { code, stderr } = await ctl("hand-over", "give", "12");
    expect([code, stderr]).toEqual([1, 'error: EINVAL: id "12": 32 hexadecimal digits, lower case\n']);
    using client = await VfioUserClient.connect(socket);
    expect(await client.migration.state()).toBe("RUNNING");
  });

  it("pause and resume", async () => {
    expect(lines(await ctl("pause"))).toEqual(["paused"]);
    expect(lines(await ctl("info"))).toContain("worker     paused");
    expect(await json("resume")).toEqual({ paused: false });
  });

  it("tasks: the connected client's", async () => {
    expect(lines(await ctl("tasks"))).toEqual(["nobody is at work on it"]);
    using client = await VfioUserClient.connect(socket);
    expect(lines(await ctl("tasks"))).toEqual([expect.stringMatching(/^client\/\d+ holds no lock$/)]);
    expect(await json("tasks")).toMatchObject({ tasks: [{ name: "client", holds: [], waits: [] }] });
    expect(client.connected).toBe(true);
  });

  it("inject: the client hears of it", async () => {
    using client = await VfioUserClient.connect(socket);
    const err = client.irq(IrqIndex.ERR);
    await err.enable(1);
    const heard = err.next();
    expect(lines(await ctl("inject", "fatal"))).toEqual(["injected: fatal"]);
    await heard;
  });

  it("says who asked for what in the server's log", () => {
    expect(server.stderr).toMatch(/"msg":"counter\.1: process \d+ of user \d+ asks for inject fatal"/);
  });

  it.each([
    ["nothing", [], /missing required argument/],
    ["an unknown command", ["explode"], /Allowed choices are info, reset/],
    ["inject without an error", ["inject"], /inject needs an error: correctable, nonfatal, fatal/],
    ["an unknown error", ["inject", "big"], /inject needs an error: correctable, nonfatal, fatal/],
    ["an error where none belongs", ["reset", "fatal"], /reset takes nothing behind it, and there is fatal/],
    ["two errors", ["inject", "fatal", "fatal"], /inject fatal takes nothing behind it/],
    ["hand-over without a step", ["hand-over"], /hand-over needs a step: prepare, activate, discard, give/],
    ["an unknown step", ["hand-over", "push"], /hand-over needs a step: prepare/],
    ["a step without an id", ["hand-over", "give"], /hand-over give needs the hand-over's id/],
  ])("wrong usage, exit code 2: %s", async (_name, args, message) => {
    const { code, stdout, stderr } = await ctl(...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });

  it("failures, exit code 1 and one line: nobody is there, or somebody else", async () => {
    using other = scratch();
    const none = await Vfiokit.run("ctl", other.file("none"), "info");
    expect(none).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^error: .*none\.ctl: no control socket there.*\n$/) as unknown,
    });
    const babble = createServer((peer) => peer.end("hello\n")).listen(other.file("babble.ctl"));
    await once(babble, "listening");
    const wrong = await Vfiokit.run("ctl", other.file("babble.ctl"), "info");
    babble.close();
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/^error: .*babble\.ctl: no answer of a control socket.*\n$/);
  });

  it("remove: there is no way back", async () => {
    expect(lines(await ctl("remove"))).toEqual(["removed"]);
    expect(lines(await ctl("info"))[0]).toBe("counter.1 (1b36:0102) removed");
    const { code, stdout, stderr } = await ctl("reset", "--json");
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^error: ENODEV: .*removed\n$/);
  });
});

describe("a knot of tasks", () => {
  it("is shown with what each holds and waits for", () => {
    const result = {
      tasks: [
        {
          id: 12,
          name: "client",
          holds: [
            { lock: "memoryLock", device: "counter.0", mode: "write" },
            { lock: "session.lock", mode: "exclusive" },
          ],
          waits: [],
        },
        {
          id: 15,
          name: "admin reset",
          holds: [],
          waits: [
            { lock: "deviceLock", device: "counter.0", mode: "exclusive", milliseconds: 1200, heldBy: [12] },
          ],
        },
      ],
    } as const;
    expect(formatResult("tasks", result, Style.of({}))).toEqual([
      "client/12",
      "  holds  memoryLock    write      counter.0",
      "  holds  session.lock  exclusive",
      "admin reset/15",
      "  waits for  deviceLock  exclusive  counter.0  1200 ms, held by task 12",
    ]);
  });
});
