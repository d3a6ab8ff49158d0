import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { VfioUserClient } from "@vfiokit/user";
import { scratch, Vfiokit } from "./vfiokit.js";

const CONFIG = 7;
/** The serial card's register that does nothing. */
const SCRATCH = 7;

async function serve(socket: string): Promise<Vfiokit> {
  const server = Vfiokit.start(["serve", "serial", "--socket-path", socket, "--chardev", "null"]);
  await server.says(/-device/);
  return server;
}

describe("vfiokit relay", () => {
  it("stands between a client and its server, which vfiokit migrate replaces", async () => {
    using folder = scratch();
    const [a, b, listen] = [folder.file("a"), folder.file("b"), folder.file("relay")];
    await using serverA = await serve(a);
    await using _serverB = await serve(b);
    await using relay = Vfiokit.start(["relay", "--listen", listen, "--connect", a]);
    await relay.says(new RegExp(`"path":"${listen}"`));
    using client = await VfioUserClient.connect(listen);

    const moved = await Vfiokit.run("migrate", listen, b);
    expect(moved).toMatchObject({ code: 0 });
    expect(moved.stdout).toContain(`${a} -> ${b}: migrated`);
    expect(moved.stderr).toMatch(/requests of the client waited for [\d.]+ ms at most/);

    // It is no device, and its info is another.
    const info = await Vfiokit.run("ctl", listen, "info");
    expect(info).toMatchObject({ code: 0, stderr: "" });
    expect(info.stdout).toMatch(
      new RegExp(
        `^relay at ${listen}\nserver +${b}\nclient +connected\nmove +none\nrequests +0 .*\nsnapshots +0\n$`,
      ),
    );
    expect(JSON.parse((await Vfiokit.run("ctl", listen, "info", "--json")).stdout)).toMatchObject({
      relay: true,
      server: b,
    });
    expect((await Vfiokit.run("ctl", listen, "migration")).stdout).toContain("RUNNING");

    // The old server is not needed any more.
    await serverA.kill("SIGKILL");
    const id = new Uint8Array(2);
    await client.regionRead(CONFIG, 0, id);
    expect(id).toEqual(Uint8Array.of(0x36, 0x1b));

    const failed = await Vfiokit.run("migrate", listen, folder.file("nobody"));
    expect(failed).toMatchObject({ code: 1 });
    expect(failed.stderr).toContain("ENOENT");
    const remote = await Vfiokit.run("migrate", listen, "tls://localhost:1/x");
    expect(remote).toMatchObject({ code: 1 });
    expect(remote.stderr).toContain("has to be there too");

    expect(await relay.kill("SIGTERM")).toBe(0);
    expect(existsSync(listen)).toBe(false);
    expect(existsSync(`${listen}.ctl`)).toBe(false);
  }, 60_000);

  it("is saved while its client goes on, and restored where there is no client", async () => {
    using folder = scratch();
    const [a, b, listen, image] = ["a", "b", "relay", "image"].map((name) => folder.file(name)) as [
      string,
      string,
      string,
      string,
    ];
    await using _serverA = await serve(a);
    await using _serverB = await serve(b);
    await using relay = Vfiokit.start(["relay", "--listen", listen, "--connect", a]);
    await relay.says(new RegExp(`"path":"${listen}"`));
    const client = await VfioUserClient.connect(listen);
    await client.regionWrite(0, SCRATCH, Uint8Array.of(0x5a));

    const saved = await Vfiokit.run("save", "--json", listen, image);
    expect(saved).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(saved.stdout)).toMatchObject({
      socket: listen,
      identity: { vendor: 0x1b36, device: 2 },
    });
    const byte = new Uint8Array(1);
    await client.regionRead(0, SCRATCH, byte);
    expect(byte[0]).toBe(0x5a);

    // Not under a client.
    const refused = await Vfiokit.run("restore", image, listen);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain(`${listen}: the relay's client uses the device`);
    await client.regionWrite(0, SCRATCH, Uint8Array.of(0));
    client.close();
    await relay.says(/connection ended/, "stderr");
    expect(await Vfiokit.run("restore", image, listen)).toMatchObject({ code: 0, stderr: "" });
    expect(await Vfiokit.run("save", listen, folder.file("again"))).toMatchObject({ code: 0, stderr: "" });
    for (const socket of [listen, b]) {
      if (socket === b) expect(await Vfiokit.run("restore", image, b)).toMatchObject({ code: 0, stderr: "" });
      using next = await VfioUserClient.connect(socket);
      await next.regionRead(0, SCRATCH, byte);
      expect(byte[0]).toBe(0x5a);
    }
  }, 60_000);

  it("starts the next server by a command, when the first one was killed", async () => {
    using folder = scratch();
    const [a, next, listen] = [folder.file("a"), folder.file("next"), folder.file("relay")];
    await using server = await serve(a);
    await using nextServer = await serve(next);
    await using relay = Vfiokit.start([
      ...["relay", "--listen", listen, "--connect", a, "--next", next, "--on-loss", "none", "--json"],
      ...["--server-command", `touch ${folder.file("started")}`],
    ]);
    const report = await relay.says(/^\{.*\}$/m);
    expect(JSON.parse(report[0])).toMatchObject({ socket: listen, ctl: `${listen}.ctl`, server: a });
    using client = await VfioUserClient.connect(listen);
    await server.kill("SIGKILL");
    const id = new Uint8Array(2);
    await relay.says(/is lost/, "stderr");
    await client.regionRead(CONFIG, 0, id);
    expect(id).toEqual(Uint8Array.of(0x36, 0x1b));
    await expect.poll(() => existsSync(folder.file("started"))).toBe(true);
    expect(nextServer.child.exitCode).toBeNull();
  }, 60_000);

  it.each([
    [["--listen", "/tmp/x"], "--connect"],
    [["--listen", "/tmp/x", "--connect", "/tmp/y", "--timeout", "0"], "must be a time up to 24h, above 0"],
    [
      ["--listen", "/tmp/x", "--connect", "/tmp/y", "--on-loss", "panic"],
      "Allowed choices are error, reset, none",
    ],
  ])("explains what is wrong with %j", async (args, message) => {
    const { code, stderr } = await Vfiokit.run("relay", ...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
