import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PciDevice } from "@vfiokit/core";
import { MigrationState, newHandOverId } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, createMemfd, socketPair } from "@vfiokit/user/linux";
import { encodeRequest, Feature, FeatureFlags, FeatureMigState, IrqSetFlags } from "@vfiokit/user/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { VfioUserServer } from "../../src/server/index.js";
import { exhaustFds, kernelResources, ownResources, temporaryDirectory } from "../linux/support.js";
import { BAR_REGISTERS, connectRaw, RawClient, testDevice, VALUE } from "./support.js";

const directory = temporaryDirectory();
let next = 0;

let path: string;
let log: string[];
let device: PciDevice;
let server: VfioUserServer;
let before: ReturnType<typeof ownResources>;

beforeEach(async () => {
  before = ownResources();
  path = join(directory, `${next++}.sock`);
  log = [];
  device = testDevice().device;
  server = new VfioUserServer(device, {
    socketPath: path,
    log: (level, text) => log.push(`${level}: ${text}`),
  });
  await server.listen();
});
afterEach(async () => {
  await server.close();
  await device.close(new Task("test"));
  expect(ownResources()).toEqual(before);
  expect(existsSync(path)).toBe(false);
});

async function connect(): Promise<RawClient> {
  const client = connectRaw(path);
  await client.negotiate();
  return client;
}

async function untilDisconnected(): Promise<void> {
  while (server.connected) await new Promise(setImmediate);
}

describe("clients, one after the other", () => {
  it("each finds the device as the one before left it", async () => {
    const first = await connect();
    await first.write(BAR_REGISTERS, VALUE, 77);
    first.close();
    const second = await connect();
    expect(await second.read(BAR_REGISTERS, VALUE, 4)).toBe(77);
    second.close();
  });

  it("that come and go without a pause are all served", async () => {
    for (let i = 0; i < 50; i++) {
      const client = await connect();
      expect(await client.read(BAR_REGISTERS, VALUE, 4)).toBe(i);
      await client.write(BAR_REGISTERS, VALUE, i + 1);
      client.close();
    }
  });

  it("leave no map, no eventfd and no log of dirty pages behind", async () => {
    const held = ownResources();
    const kernel = kernelResources();
    const client = await connect();
    using guest = createMemfd("guest", 0x4000);
    using event = createEventFd();
    for (const address of [0n, 0x1000n, 0x2000n]) {
      const map = { argsz: 32, flags: 3, offset: 0n, address, size: 0x1000n };
      await client.call("DMA_MAP", map, [guest.number]);
    }
    const flags = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER;
    const irqs = { argsz: 20, flags, index: 2, start: 0, count: 3, data: new Uint8Array() };
    await client.call("DEVICE_SET_IRQS", irqs, [event.number, event.number, event.number]);
    const ioFds = { argsz: 1024, flags: 0, index: BAR_REGISTERS, count: 0 };
    for (const fd of (await client.call("DEVICE_GET_REGION_IO_FDS", ioFds)).fds) fd.close();
    const start = new Uint8Array(16);
    start[1] = 0x10; // page_size 4096, no ranges
    const logging = Feature.DMA_LOGGING_START | FeatureFlags.SET;
    await client.call("DEVICE_FEATURE", { argsz: 24, flags: logging, data: start });
    expect(device.dma.dirtyLog.active).toBe(true);
    client.close();
    await untilDisconnected();
    expect(device.dma.mapCount).toBe(0);
    expect(device.dma.dirtyLog.active).toBe(false);
    guest.close();
    event.close();
    expect(ownResources()).toEqual(held);
    expect(kernelResources()).toEqual(kernel);
  });

  it("and have not heard the answer to VERSION leave no second socket behind", async () => {
    const capabilities = { max_msg_fds: 8, twin_socket: { supported: true } };
    const version = encodeRequest("VERSION", 1, { major: 0, minor: 1, data: { capabilities } });
    const held = ownResources();
    for (let i = 0; i < 20; i++) {
      const client = connectRaw(path);
      await client.send(version);
      // The server has it, and opens the device: it answers a client that is gone.
      while (!server.connected) await new Promise(setImmediate);
      client.close();
      await untilDisconnected();
    }
    expect(ownResources()).toEqual(held);
    const next = await connect();
    expect(await next.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    next.close();
  });

  it("abandon an unfinished migration: the next finds RUNNING", async () => {
    for (const state of [MigrationState.STOP_COPY, MigrationState.RESUMING, MigrationState.STOP]) {
      const client = await connect();
      await client.write(BAR_REGISTERS, VALUE, state + 1);
      const data = FeatureMigState.encode({ device_state: state, data_fd: -1 });
      const flags = Feature.MIG_DEVICE_STATE | FeatureFlags.SET;
      await client.call("DEVICE_FEATURE", { argsz: 16, flags, data });
      client.close();
      const successor = await connect();
      expect(device.migration!.state).toBe(MigrationState.RUNNING);
      expect(await successor.read(BAR_REGISTERS, VALUE, 4)).toBe(state + 1);
      successor.close();
    }
  });

  it("a second one: its VERSION is answered with EBUSY, and then its connection ends; the first goes on", async () => {
    const first = await connect();
    const second = connectRaw(path);
    await expect(second.negotiate()).rejects.toThrow("errno 16");
    expect(await second.nextOrEnd()).toBeUndefined();
    second.close();
    expect(log).toContain(`warn: process ${process.pid} was turned away: another client is connected`);
    expect(await first.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    first.close();
  });

  it("any number that come and go while one is released: the next that stays is served, those behind it get EBUSY", async () => {
    const task = new Task("test");
    const first = await connect();
    // Its release waits for this.
    await device.set.lock.lock(task);
    first.close();
    for (let n = 0; n < 100; n++) {
      const gone = connectRaw(path);
      void gone.negotiate().catch(() => undefined);
      gone.close();
      await new Promise(setImmediate); // its place in the backlog
    }
    const [stays, late] = [connectRaw(path), connectRaw(path)];
    const answers = Promise.all([stays.negotiate(), late.negotiate().catch(String)]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    device.set.lock.unlock(task);
    expect((await answers)[1]).toContain("errno 16");
    expect(await stays.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    for (const client of [stays, late]) client.close();
  });

  it("turned away while a hand-over keeps the device stopped; the one who is connected goes on", async () => {
    const task = new Task("test");
    const handOver = device.handOver!;
    const id = newHandOverId(handOver.instance);
    const migrationClient = await connect();
    await device.migration!.setState(task, MigrationState.STOP_COPY);
    await handOver.give(task, id);
    const turnedAway = async () => {
      const client = connectRaw(path);
      await expect(client.negotiate()).rejects.toThrow("errno 16");
      client.close();
      const line = log.pop()!;
      expect(line).toMatch(
        new RegExp(
          `^warn: process ${process.pid} was turned away: the device was given away to another server at 2`,
        ),
      );
      expect(line).toContain(
        `in hand-over ${id}. To use it here again, as after a reset: vfiokit ctl ${path} hand-over`,
      );
      expect(line).toContain(`vfiokit ctl ${path} hand-over take-back ${id}`);
    };
    await turnedAway();
    expect(await migrationClient.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    migrationClient.close();
    await untilDisconnected();
    await turnedAway();
    await handOver.takeBack(task, id);
    const client = await connect();
    expect(device.migration!.state).toBe(MigrationState.RUNNING);
    client.close();
  });
});

describe("the socket", () => {
  it("is gone after close, and the client sees its end", async () => {
    const client = await connect();
    await server.close();
    expect(existsSync(path)).toBe(false);
    expect(await client.nextOrEnd()).toBeUndefined();
    client.close();
    await server.ended;
  });

  it("cannot be had twice", async () => {
    const rival = new VfioUserServer(device, { socketPath: path });
    await expect(rival.listen()).rejects.toThrow("EADDRINUSE");
    await rival.close();
    (await connect()).close();
  });

  it("does not replace a file", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "x");
    const other = new VfioUserServer(device, { socketPath: file });
    await expect(other.listen()).rejects.toThrow("EADDRINUSE");
    await other.close();
    expect(existsSync(file)).toBe(true);
  });
});

describe("a process without descriptors to spare", () => {
  it("lets a client wait, and serves it once there are some", async () => {
    const client = connectRaw(path);
    const restore = exhaustFds();
    while (!log.some((line) => line.includes("cannot be accepted for now"))) await new Promise(setImmediate);
    restore();
    await client.negotiate();
    expect(await client.read(BAR_REGISTERS, VALUE, 4)).toBe(0);
    client.close();
  });

  it("answers EMFILE to what needs one, and goes on", async () => {
    const client = await connect();
    const ask = () =>
      client.call("DEVICE_GET_REGION_IO_FDS", { argsz: 1024, flags: 0, index: BAR_REGISTERS, count: 0 });
    const restore = exhaustFds();
    await expect(ask()).rejects.toThrow("errno 24");
    restore();
    for (const fd of (await ask()).fds) fd.close();
    client.close();
  });
});

describe("a descriptor instead of a path", () => {
  it("serves the one client at its other end, and then ends", async () => {
    const other = testDevice();
    const [ours, theirs] = socketPair();
    const single = new VfioUserServer(other.device, { fd: theirs.release() });
    await single.listen();
    const client = new RawClient(ours);
    await client.negotiate();
    await client.write(BAR_REGISTERS, VALUE, 3);
    client.close();
    await single.ended;
    expect(other.fn.value).toBe(3);
    await single.close();
    await other.device.close(new Task("test"));
  });

  it("that is no socket is refused", async () => {
    using file = createMemfd("no socket", 1);
    const single = new VfioUserServer(device, { fd: file.duplicate().release() });
    await expect(single.listen()).rejects.toThrow("ENOTSOCK");
    await single.close();
  });
});

describe("options", () => {
  it.each([
    [{}, "socketPath or fd"],
    [{ socketPath: "/x", fd: 3 }, "not both"],
    [{ socketPath: "/x", maxMsgFds: 0 }, "maxMsgFds 0: from 1 to 253"],
    [{ socketPath: "/x", maxDataXferSize: 12.5 }, "maxDataXferSize 12.5"],
    [{ socketPath: "/x", dmaTimeout: -1 }, "dmaTimeout -1"],
  ])("%j are refused", (options, message) => {
    expect(() => new VfioUserServer(device, options)).toThrow(message);
  });
});
