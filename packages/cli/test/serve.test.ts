import { once } from "node:events";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { socketPair } from "@vfiokit/user/linux";
import { scratch, Vfiokit } from "./vfiokit.js";

/** Starts a server and waits until it serves. */
async function serving(path: string, ...args: string[]): Promise<Vfiokit> {
  const server = Vfiokit.start(["serve", "serial", "--socket-path", path, "--chardev", "null", ...args]);
  await server.says(/\n/);
  return server;
}

describe("what it prints", () => {
  it("options that QEMU takes: the socket's whole path, as JSON in quotes for the shell", async () => {
    using dir = scratch();
    await using server = await serving(dir.file("a b.sock"));
    const [, option] = await server.says(/-device '(.*)'/);
    expect(JSON.parse(option!)).toEqual({
      driver: "vfio-user-pci",
      socket: { type: "unix", path: dir.file("a b.sock") },
    });
  });

  it("--json: the same for programs, on one line", async () => {
    using dir = scratch();
    const path = dir.file("s");
    await using server = Vfiokit.start(["serve", "serial", "--socket-path", path, "--json"]);
    const [line] = await server.says(/^.*\n/);
    expect(JSON.parse(line)).toMatchObject({
      device: "serial",
      pid: server.child.pid,
      socket: path,
      chardev: { kind: "pty", path: expect.stringMatching(/^\/dev\/pts\/\d+$/) as unknown },
      qemu: expect.arrayContaining(["-device"]) as unknown,
    });
  });

  it("nothing on standard output with --chardev stdio: that is the guest's", async () => {
    using dir = scratch();
    await using server = Vfiokit.start([
      "serve",
      "serial",
      "--socket-path",
      dir.file("s"),
      "--chardev",
      "stdio",
    ]);
    await server.says(/vfio-user-pci/, "stderr");
    await server.kill("SIGTERM");
    expect(server.stdout).toBe("");
  });

  it("no colours where there is no terminal", async () => {
    using dir = scratch();
    await using server = await serving(dir.file("s"));
    await server.kill("SIGTERM");
    expect(server.stdout + server.stderr).not.toContain("\x1b");
  });

  it("a log of JSON on standard error, from --log-level up", async () => {
    using dir = scratch();
    await using server = await serving(dir.file("s"));
    await server.kill("SIGTERM");
    expect(JSON.parse(server.stderr)).toMatchObject({ level: 30, msg: "ending: SIGTERM" });
    await using quiet = await serving(dir.file("s"), "--log-level", "warn");
    await quiet.kill("SIGTERM");
    expect(quiet.stderr).toBe("");
  });
});

describe("wrong usage: exit code 2, and what is wrong", () => {
  it.each([
    ["neither a path nor a descriptor", [], /one of --socket-path and --fd/],
    ["both", ["--socket-path", "s", "--fd", "3"], /one of --socket-path and --fd/],
    ["a descriptor that is no number", ["--fd", "x"], /file descriptor/],
    ["an unknown chardev", ["--fd", "3", "--chardev", "modem"], /must be one of stdio/],
    ["an unknown option", ["--fd", "3", "--foo"], /unknown option '--foo'/],
  ])("%s", async (_name, args, message) => {
    const { code, stdout, stderr } = await Vfiokit.run("serve", "serial", ...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });

  it("an unknown device", async () => {
    expect(await Vfiokit.run("serve", "toaster")).toMatchObject({ code: 2 });
  });
});

describe("failures: exit code 1, and one line", () => {
  it.each([
    ["a path in no directory", "/no/such/directory/s", /^error: .*ENOENT.*\n$/],
    ["a path that is too long", `/tmp/${"x".repeat(200)}`, /^error: .*at most 107.*\n$/],
  ])("%s", async (_name, path, message) => {
    const { code, stderr } = await Vfiokit.run(
      "serve",
      "serial",
      "--socket-path",
      path,
      "--chardev",
      "null",
      "--log-level",
      "silent",
    );
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  it("a path where a file is, which is left alone", async () => {
    using dir = scratch();
    writeFileSync(dir.file("precious"), "data");
    const { code } = await Vfiokit.run("serve", "serial", "--socket-path", dir.file("precious"));
    expect(code).toBe(1);
    expect(readFileSync(dir.file("precious"), "utf8")).toBe("data");
  });

  it("a path where another server listens, which goes on", async () => {
    using dir = scratch();
    await using first = await serving(dir.file("s"));
    const { code, stderr } = await Vfiokit.run("serve", "serial", "--socket-path", dir.file("s"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/another server listens there/);
    const client = connect(dir.file("s"));
    await once(client, "connect");
    client.destroy();
    expect(await first.kill("SIGTERM")).toBe(0);
  });

  it("a descriptor that is no socket", async () => {
    using dir = scratch();
    const { code, stderr } = await Vfiokit.run("serve", "serial", "--fd", "77");
    expect(code).toBe(1);
    expect(stderr).toMatch(/EBADF|ENOTSOCK/);
    expect(readdirSync(dir.path)).toEqual([]);
  });
});

describe("the end", () => {
  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "%s: exit code 0, the sockets are removed",
    async (signal) => {
      using dir = scratch();
      await using server = Vfiokit.start([
        "serve",
        "serial",
        "--socket-path",
        dir.file("s"),
        "--chardev",
        `unix:${dir.file("tty")}`,
      ]);
      await server.says(/\n/);
      expect(readdirSync(dir.path).sort()).toEqual(["s", "s.ctl", "tty"]);
      expect(await server.kill(signal)).toBe(0);
      expect(readdirSync(dir.path)).toEqual([]);
    },
  );

  it("with a client and a peer on the line, neither of whom does anything", async () => {
    using dir = scratch();
    await using server = Vfiokit.start([
      "serve",
      "serial",
      "--socket-path",
      dir.file("s"),
      "--chardev",
      `unix:${dir.file("tty")}`,
    ]);
    await server.says(/\n/);
    const client = connect(dir.file("s"));
    const peer = connect(dir.file("tty"));
    await Promise.all([once(client, "connect"), once(peer, "connect")]);
    await Promise.all([server.says(/client connected/, "stderr"), server.says(/peer connected/, "stderr")]);
    const closed = Promise.all([once(client, "close"), once(peer, "close")]);
    client.resume();
    peer.resume();
    expect(await server.kill("SIGTERM")).toBe(0);
    await closed;
  });

  it("killed with SIGKILL: the next server takes the path over", async () => {
    using dir = scratch();
    await using first = await serving(dir.file("s"));
    expect(await first.kill("SIGKILL")).toBe("SIGKILL");
    expect(existsSync(dir.file("s"))).toBe(true);
    await using second = await serving(dir.file("s"));
    expect(await second.kill("SIGTERM")).toBe(0);
  });

  it("--fd: when its one client is gone", async () => {
    const [ours, theirs] = socketPair();
    await using server = Vfiokit.start(
      ["serve", "serial", "--fd", "3", "--chardev", "null"],
      [theirs.number],
    );
    theirs.close();
    await server.says(/on the given socket/);
    ours.close();
    expect(await server.ended).toBe(0);
  });
});
