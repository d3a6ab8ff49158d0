import { join } from "node:path";
import { DeviceSet, PciDevice, type PciDeviceOptions } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { DeviceFlags } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { VfioUserClient, type ReplyError } from "@vfiokit/user";
import { afterEach, describe, expect, it } from "vitest";
import { VfioUserServer, type ServerOptions } from "../../src/server/index.js";
import { temporaryDirectory } from "../linux/support.js";
import { BAR_REGISTERS, connectRaw, testDevice, VALUE, type TestFunction } from "./support.js";

// What a client that comes and goes does to a device, over a real socket: the paths `enable`, `disable`, `last-close`,
// `runtime-resume` and `disconnect` of packages/core/src/reset/initiator.ts.

const directory = temporaryDirectory();
let next = 0;

interface Served {
  readonly path: string;
  readonly device: PciDevice;
  readonly fn: TestFunction;
  readonly server: VfioUserServer;
}

const all: Served[] = [];

async function serve(
  onDisconnect: ServerOptions["onDisconnect"] | undefined,
  options: PciDeviceOptions = {},
): Promise<Served> {
  const { device, fn } = testDevice(options);
  const path = join(directory, `${next++}.sock`);
  const server = new VfioUserServer(device, { socketPath: path, ...(onDisconnect && { onDisconnect }) });
  await server.listen();
  const served = { path, device, fn, server };
  all.push(served);
  return served;
}

afterEach(async () => {
  for (const { server, device } of all.splice(0)) {
    await server.close();
    await device.close(new Task("test"));
  }
});

async function until({ server }: Served, connected: boolean): Promise<void> {
  while (server.connected !== connected) await new Promise(setImmediate);
}

/** A client that comes and does something, until it is gone and the device is closed. */
async function visit({ path, server }: Served, what?: (client: VfioUserClient) => Promise<unknown>) {
  const client = await VfioUserClient.connect(path);
  await what?.(client);
  client.close();
  while (server.connected) await new Promise(setImmediate);
}

const write = (client: VfioUserClient) =>
  client.regionWrite(BAR_REGISTERS, VALUE, Uint8Array.of(77, 0, 0, 0));

describe("--on-disconnect keep", () => {
  it("is the default: no reset when a client comes, none when it goes, and the device is open meanwhile", async () => {
    const served = await serve(undefined);
    const { device, fn } = served;
    await visit(served, async (client) => {
      expect(device.openCount).toBe(1);
      await write(client);
    });
    expect(device.openCount).toBe(0);
    expect(fn).toMatchObject({ value: 77, resets: 0 });
    await visit(served);
    expect(fn).toMatchObject({ value: 77, resets: 0 });
  });

  it("a client that never agrees on a version has not opened the device", async () => {
    const served = await serve("keep");
    const client = connectRaw(served.path);
    await until(served, true);
    expect(served.device.openCount).toBe(0);
    client.close();
    await until(served, false);
    expect(served.device.openCount).toBe(0);
  });
});

describe("--on-disconnect reset", () => {
  it("resets when a client comes and when it goes: the next one finds power-on values", async () => {
    const served = await serve("reset");
    const { device, fn } = served;
    fn.value = 5;
    await visit(served, async (client) => {
      expect(fn).toMatchObject({ value: 0, resets: 1 });
      await write(client);
    });
    expect(fn).toMatchObject({ value: 0, resets: 2 });
    expect(device).toMatchObject({ openCount: 0, generation: 2, needsReset: false });
  });

  it("a client that leaves in the middle of a migration leaves a device that runs", async () => {
    const served = await serve("reset");
    await visit(served, (client) => client.migration.setState("STOP_COPY"));
    expect(served.device.migration!.state).toBe(MigrationState.RUNNING);
    expect(served.device.migration!.sessionOpen).toBe(false);
  });

  it("a device whose reset fails is opened, and offers none", async () => {
    const served = await serve("reset");
    const { fn } = served;
    fn.resetFails = true;
    await visit(served, async (client) => {
      const { flags } = await client.getInfo();
      expect(flags & DeviceFlags.RESET).toBe(0);
      await expect(client.reset()).rejects.toMatchObject({ code: "EINVAL" });
    });
    expect(served.device.needsReset).toBe(true);
  });

  it("the last client of a set has the bus reset, for a function that could not be reset alone", async () => {
    const set = new DeviceSet();
    const [first, second] = [await serve("reset", { set }), await serve("reset", { set })];
    first.fn.resetFails = true;
    const client = await VfioUserClient.connect(second.path);
    await visit(first, () => {
      first.fn.resetFails = false;
      return Promise.resolve();
    });
    expect(first.device).toMatchObject({ needsReset: true, generation: 0 }); // the other is open
    client.close();
    while (second.server.connected) await new Promise(setImmediate);
    expect(first.device).toMatchObject({ needsReset: false, generation: 1 });
    expect(second.device).toMatchObject({ needsReset: false, generation: 3 }); // enable, disable, last-close
  });

  it("a client that comes while somebody else is at the device hears EAGAIN, and the next one is served", async () => {
    const served = await serve("reset");
    const { device } = served;
    const other = new Task("admin");
    await device.deviceLock.lock(other);
    await expect(VfioUserClient.connect(served.path)).rejects.toMatchObject({
      command: "VERSION",
      code: "EAGAIN",
    } satisfies Partial<ReplyError>);
    device.deviceLock.unlock(other);
    expect(device.openCount).toBe(0);
    while (served.server.connected) await new Promise(setImmediate);
    await visit(served, async () => {
      expect(device.openCount).toBe(1);
      await Promise.resolve();
    });
  });

  it("a client that goes while the device is being reset for it: closed, and the next one is served", async () => {
    const served = await serve("reset");
    const { device, fn } = served;
    let done!: () => void;
    fn.resetGate = new Promise((resolve) => (done = resolve));
    const connecting = VfioUserClient.connect(served.path, { timeoutMs: 50 });
    await expect(connecting).rejects.toMatchObject({ code: "ETIMEDOUT" });
    done();
    fn.resetGate = undefined;
    while (served.server.connected) await new Promise(setImmediate);
    expect(device.openCount).toBe(0);
    await visit(served, async () => {
      expect(device.openCount).toBe(1);
      await Promise.resolve();
    });
  });

  it("an image that waits for its hand-over is not reset away by the client that loaded it", async () => {
    const source = await serve("keep");
    const image: Uint8Array[] = [];
    await visit(source, async (client) => {
      await write(client);
      await client.migration.setState("STOP_COPY");
      for (;;) {
        const piece = await client.migration.read(4096);
        if (piece.length === 0) break;
        image.push(piece.slice());
      }
    });
    const target = await serve("reset");
    const { handOver, migration } = target.device;
    const id = "0123456789abcdef0123456789abcdef";
    await visit(target, async (client) => {
      await client.migration.setState("RESUMING");
      for (const piece of image) await client.migration.write(piece);
      await handOver!.prepare(new Task("admin"), id);
    });
    expect(handOver!.status()).toMatchObject({ phase: "prepared", wasReset: false });
    await handOver!.activate(new Task("admin"), id);
    expect(migration!.state).toBe(MigrationState.RUNNING);
    expect(target.fn.value).toBe(77);
  });
});

describe("idle power", () => {
  it("D3cold: the next client resumes the device, which has lost its state", async () => {
    const served = await serve("keep", { idlePower: "D3cold" });
    const { device, fn } = served;
    await visit(served, write);
    expect(device.runtimePm.suspended).toBe(true);
    expect(fn.value).toBe(77);
    await visit(served, async () => {
      expect(fn.value).toBe(0);
      await Promise.resolve();
    });
    expect(device.generation).toBe(1);
  });
});
