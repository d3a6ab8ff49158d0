/** What is done while system calls fail: each builds all that it needs, uses it, and takes it down. */

import { join } from "node:path";
import { IrqIndex, PciDevice, RegionIndex, type PciDeviceDefinition } from "@vfiokit/core";
import { counterCard, memoryCard } from "@vfiokit/devices";
import { Task } from "@vfiokit/lockdep";
import {
  AdminServer,
  connectRemoteTarget,
  DeviceAdmin,
  localDevice,
  LocalSource,
  LocalTarget,
  migrate,
  Receiver,
  Relay,
  saveImage,
  VfioUserClient,
  VfioUserServer,
} from "@vfiokit/user";
import { createMemfd, memfdMemory } from "@vfiokit/user/linux";
import { restore as restoreFrom } from "../../packages/cli/src/restore/command.js";
import { ImageFile } from "../../packages/cli/src/shared/image-file.js";

/** Runs once. @param folder for its sockets and files @throws what a user would be told */
export type Scenario = (folder: string) => Promise<void>;

const PAGE = 4096;
const MEMORY = 16 * PAGE;
/** For an answer that does not come. Milliseconds. */
const TIMEOUT_MS = 300;
const MOVE = { maxDowntime_ms: 300, maxRounds: 2 };
const insecure = { kind: "insecure-loopback" } as const;
/** PCI 3.0 §6.2.2: memory, bus master. */
const PCI_COMMAND = 4;
const ENABLED = Uint8Array.of(6, 0);

const counter = (): PciDeviceDefinition => counterCard({ functions: 1, scratch: "whole" })[0]!;
const card = (): PciDeviceDefinition => memoryCard({ size: MEMORY });

/** What a scenario has to take down, the last first, whatever became of it. */
class Stack implements AsyncDisposable {
  readonly #ends: (() => void | Promise<void>)[] = [];

  onEnd(end: () => void | Promise<void>): void {
    this.#ends.push(end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}

async function serveAt(stack: Stack, path: string, definition: PciDeviceDefinition): Promise<PciDevice> {
  const device = new PciDevice(definition, { memory: memfdMemory });
  stack.onEnd(() => device.close(new Task("end")));
  const server = new VfioUserServer(device, { socketPath: path, dmaTimeout: TIMEOUT_MS });
  stack.onEnd(() => server.close());
  await server.listen();
  const admin = new AdminServer(new DeviceAdmin(device, server), {
    socketPath: `${path}.ctl`,
    log: () => undefined,
  });
  stack.onEnd(() => admin.close());
  admin.listen();
  return device;
}

/** A client that uses what there is: registers, mapped memory, DMA of every kind, interrupts. */
async function useDevice(path: string, device: PciDevice, mapped: boolean): Promise<void> {
  using client = await VfioUserClient.connect(path, { timeoutMs: TIMEOUT_MS });
  await client.getInfo();
  await client.getIrqInfo(IrqIndex.MSI);
  await client.regionWrite(RegionIndex.CONFIG, PCI_COMMAND, ENABLED);
  if (mapped) {
    using region = await client.mapRegion(2);
    region.areas[0]!.bytes[0] = 1;
  }
  const irq = client.irq(IrqIndex.INTX);
  await irq.enable(1);
  const shared = client.shareMemory(PAGE);
  await client.dmaMap({ address: 0x10000n, memory: shared });
  await client.dmaMap({ address: 0x20000n, memory: { bytes: new Uint8Array(PAGE) } });
  using file = createMemfd("can shrink", PAGE, 0);
  await client.dmaMap({ address: 0x30000n, memory: { bytes: new Uint8Array(PAGE), file } });
  const task = new Task("device");
  for (const address of [0x10000n, 0x20000n, 0x30000n]) {
    await device.dma.write(address, Uint8Array.of(1, 2, 3), task);
    await device.dma.read(address, new Uint8Array(3), task);
  }
  await irq.trigger(0);
  await client.dmaUnmap(0x10000n, PAGE);
  await client.reset();
}

const serve: Scenario = async (folder) => {
  await using stack = new Stack();
  const path = join(folder, "device");
  const device = await serveAt(stack, path, counter());
  await useDevice(path, device, true);
  // The next one finds it as it was.
  using next = await VfioUserClient.connect(path, { timeoutMs: TIMEOUT_MS });
  await next.regionRead(RegionIndex.CONFIG, 0, new Uint8Array(4));
};

const relay: Scenario = async (folder) => {
  await using stack = new Stack();
  const [a, b] = [join(folder, "a"), join(folder, "b")];
  const device = await serveAt(stack, a, counter());
  await serveAt(stack, b, counter());
  const listenPath = join(folder, "relay");
  const one = new Relay({
    listenPath,
    serverPath: a,
    replyLimit: TIMEOUT_MS,
    timeout: TIMEOUT_MS,
  });
  stack.onEnd(() => one.close());
  one.listen();
  await useDevice(listenPath, device, false);
  using client = await VfioUserClient.connect(listenPath, { timeoutMs: 2 * TIMEOUT_MS });
  await client.dmaMap({ address: 0x10000n, memory: client.shareMemory(PAGE) });
  await client.irq(IrqIndex.INTX).enable(1);
  await one.migrate(b, MOVE);
  await client.regionRead(RegionIndex.CONFIG, 0, new Uint8Array(4));
};

const local: Scenario = async (folder) => {
  await using stack = new Stack();
  const [a, b] = [join(folder, "a"), join(folder, "b")];
  await serveAt(stack, a, card());
  await serveAt(stack, b, card());
  using source = await LocalSource.connect(a, { timeoutMs: TIMEOUT_MS });
  using target = await LocalTarget.connect(b, { timeoutMs: TIMEOUT_MS });
  await migrate(source, target, MOVE);
};

const receive: Scenario = async (folder) => {
  await using stack = new Stack();
  const [a, b] = [join(folder, "a"), join(folder, "b")];
  await serveAt(stack, a, card());
  await serveAt(stack, b, card());
  const receiver = new Receiver({
    host: "127.0.0.1",
    port: 0,
    security: insecure,
    resumeWindow_ms: TIMEOUT_MS,
    devices: new Map([["b", localDevice(b)]]),
  });
  stack.onEnd(() => receiver.close());
  const { port } = await receiver.listen();
  using source = await LocalSource.connect(a, { timeoutMs: TIMEOUT_MS });
  const target = await connectRemoteTarget(`tls://127.0.0.1:${port}/b`, { security: insecure });
  stack.onEnd(() => target.close());
  await migrate(source, target, MOVE);
};

async function saveTo(socket: string, file: string): Promise<void> {
  const image = await ImageFile.create(file, undefined);
  try {
    await saveImage(socket, (chunk) => image.write(chunk), { timeoutMs: TIMEOUT_MS });
    await image.commit();
  } catch (error) {
    await image.discard();
    throw error;
  }
}

const save: Scenario = async (folder) => {
  await using stack = new Stack();
  const path = join(folder, "device");
  await serveAt(stack, path, card());
  await saveTo(path, join(folder, "image"));
};

const restore: Scenario = async (folder) => {
  await using stack = new Stack();
  const path = join(folder, "device");
  await serveAt(stack, path, card());
  await saveTo(path, join(folder, "image"));
  await restoreFrom(join(folder, "image"), path, false, TIMEOUT_MS);
};

export const scenarios = { serve, relay, receive, save, restore, migrate: local } as const;
export type ScenarioName = keyof typeof scenarios;
