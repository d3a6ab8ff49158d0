/** The client against this project's server. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { IrqIndex } from "@vfiokit/core";
import { IrqFlags, RegionFlags } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { openFds, openMappings } from "@vfiokit/user/linux";
import { VfioUserClient, type ClientOptions } from "../../src/client/index.js";
import { VfioUserServer } from "../../src/server/index.js";
import {
  BAR_MEMORY,
  BAR_REGISTERS,
  CONFIG,
  INTERRUPT,
  testDevice,
  VALUE,
  type TestFunction,
} from "../server/support.js";

interface Setup {
  readonly path: string;
  readonly fn: TestFunction;
  readonly server: VfioUserServer;
  readonly client: VfioUserClient;
  readonly close: () => Promise<void>;
}

/** PCI 3.0 §6.2.2. */
const PciCommand = { OFFSET: 4, MEMORY: 1 << 1 } as const;

async function setup(options: ClientOptions = {}): Promise<Setup> {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-"));
  const path = join(folder, "device.sock");
  const { device, fn } = testDevice();
  const server = new VfioUserServer(device, { socketPath: path });
  await server.listen();
  const client = await VfioUserClient.connect(path, options);
  const close = async (): Promise<void> => {
    client.close();
    await server.close();
    await device.close(new Task("test"));
    rmSync(folder, { recursive: true, force: true });
  };
  onTestFinished(close);
  return { path, fn, server, client, close };
}

it("info of the device, its regions and its interrupts", async () => {
  const { client } = await setup();
  expect(await client.getInfo()).toEqual({ flags: 3, numRegions: 9, numIrqs: 5 });
  expect(await client.getRegionInfo(BAR_MEMORY)).toMatchObject({
    size: 0x4000,
    mmapAreas: [{ offset: 0x1000, size: 0x2000 }],
  });
  expect(await client.getRegionInfo(CONFIG)).toMatchObject({ flags: RegionFlags.READ | RegionFlags.WRITE });
  expect(await client.getIrqInfo(IrqIndex.MSIX)).toMatchObject({ count: 4 });
  expect((await client.getIrqInfo(IrqIndex.INTX)).flags & IrqFlags.EVENTFD).toBe(IrqFlags.EVENTFD);
  await expect(client.getRegionInfo(9)).rejects.toMatchObject({ code: "EINVAL" });
  expect(client.limits).toMatchObject({ writeMultiple: true, twinSocket: true });
});

it("registers: read, write, several in one message, posted", async () => {
  const { client, fn } = await setup();
  const value = new Uint8Array([1, 2, 3, 4]);
  expect(await client.regionWrite(BAR_REGISTERS, VALUE, value)).toBe(4);
  const back = new Uint8Array(4);
  expect(await client.regionRead(BAR_REGISTERS, VALUE, back)).toBe(4);
  expect(back).toEqual(value);
  expect(await client.regionWriteMulti([{ region: BAR_REGISTERS, offset: 0x20, data: value }])).toBe(1);
  await client.regionPost(BAR_REGISTERS, 0x24, value);
  await client.regionRead(BAR_REGISTERS, VALUE, back);
  expect(fn.writes).toEqual(["0=4030201/4", "20=4030201/4", "24=4030201/4"]);
  await expect(client.regionRead(BAR_REGISTERS, 0x40, back)).rejects.toMatchObject({ code: "EINVAL" });
});

it("interrupts arrive through the reactor", async () => {
  const { client } = await setup();
  const intx = client.irq(IrqIndex.INTX);
  await intx.enable(1);
  const next = intx.next();
  await client.regionWrite(BAR_REGISTERS, INTERRUPT, new Uint8Array([1, 0, 0, 0]));
  expect(await next).toBe(0);
  await intx.disable();
});

it("a mappable region is the device's own memory", async () => {
  const { client } = await setup();
  await client.regionWrite(CONFIG, PciCommand.OFFSET, new Uint8Array([PciCommand.MEMORY]));
  using mapped = await client.mapRegion(BAR_MEMORY);
  const [area] = mapped.areas;
  expect(area).toMatchObject({ offset: 0x1000 });
  area!.bytes[3] = 99;
  const back = new Uint8Array(1);
  await client.regionRead(BAR_MEMORY, 0x1003, back);
  expect(back[0]).toBe(99);
});

it("the device reads and writes the client's memory: mapped, and by messages over either socket", async () => {
  for (const twinSocket of [true, false]) {
    const { client, fn } = await setup({ twinSocket });
    expect(client.limits.twinSocket).toBe(twinSocket);
    const shared = client.shareMemory(4096);
    const own = { bytes: new Uint8Array(4096) };
    await client.dmaMap({ address: 0x1_0000n, memory: shared });
    await client.dmaMap({ address: 0x2_0000n, memory: own });
    shared.bytes.fill(1);
    own.bytes.fill(2);
    for (const [address, memory] of [
      [0x1_0010n, shared],
      [0x2_0010n, own],
    ] as const) {
      const read = new Uint8Array(4);
      await fn.host.dma.read(address, read);
      expect([...read]).toEqual([...memory.bytes.subarray(0, 4)]);
      await fn.host.dma.write(address, new Uint8Array([9, 8, 7]));
      expect([...memory.bytes.subarray(0x10, 0x13)]).toEqual([9, 8, 7]);
    }
    await expect(client.dmaUnmap(0x3_0000n, 4096)).rejects.toMatchObject({ code: "ENOENT" });
    await client.dmaUnmapAll();
  }
});

it("reset, and a migration into a second device", async () => {
  const source = await setup();
  const target = await setup();
  const value = new Uint8Array([1, 2, 3, 4]);
  await source.client.regionWrite(BAR_REGISTERS, VALUE, value);
  const out = source.client.migration;
  const into = target.client.migration;
  expect(await out.flags()).not.toBe(0);
  await out.setState("STOP_COPY");
  await into.setState("RESUMING");
  for await (const chunk of out.stream()) await into.write(chunk);
  await out.setState("STOP");
  await into.setState("RUNNING");
  expect(target.fn.value).toBe(0x04030201);
  await source.client.reset();
  expect(await out.state()).toBe("RUNNING");
  expect(source.fn.value).toBe(0);
});

it("a server that is started again: its client goes on as if nothing had been", async () => {
  const first = await setup({ reconnect: { firstMs: 1, maxMs: 10 } });
  const { client, path } = first;
  const memory = { bytes: new Uint8Array(4096).fill(5) };
  await client.dmaMap({ address: 0x1000n, memory });
  await client.irq(IrqIndex.INTX).enable(1);
  const gone = new Promise<void>((resolve) => client.once("disconnected", () => resolve()));
  await first.server.close();
  await gone;

  const { device, fn } = testDevice();
  const again = new VfioUserServer(device, { socketPath: path });
  await again.listen();
  const next = client.irq(IrqIndex.INTX).next();
  await client.regionWrite(BAR_REGISTERS, INTERRUPT, new Uint8Array([1, 0, 0, 0]));
  expect(await next).toBe(0);
  const read = new Uint8Array(4);
  await fn.host.dma.read(0x1000n, read);
  expect([...read]).toEqual([5, 5, 5, 5]);
  client.close();
  await again.close();
  await device.close(new Task("test"));
});

it("close releases everything, on both sides", async () => {
  const { client, close } = await setup();
  await client.dmaMap({ address: 0n, memory: client.shareMemory(8192) });
  await client.irq(IrqIndex.MSIX).enable(4);
  await client.mapRegion(BAR_MEMORY);
  await close();
  expect([openFds(), openMappings()]).toEqual([0, 0]);
});

it("ten thousand reads, all under way at once", async () => {
  const { client } = await setup();
  const buffers = Array.from({ length: 10_000 }, () => new Uint8Array(4));
  const counts = await Promise.all(buffers.map((buffer) => client.regionRead(BAR_REGISTERS, VALUE, buffer)));
  expect(counts.every((count) => count === 4)).toBe(true);
});
