/** MSI-X as clients set it up: a message carries no more descriptors than was agreed. */

import { expect, it, onTestFinished, vi } from "vitest";
import { definePciDevice, IrqIndex, msix, msixTable, PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { createEventFd, drainEventFd, memfdMemory, socketPair } from "@vfiokit/user/linux";
import { IrqSetFlags } from "@vfiokit/user/wire";
import { VfioUserClient } from "../../src/client/index.js";
import { VfioUserServer } from "../../src/server/index.js";
import { enableBusMaster, RawClient } from "./support.js";

const VECTORS = 2048;
const PER_MESSAGE = 16;
const FLAGS = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER;

/** A device with as many vectors as MSI-X has, behind a server; the client's end of its socket. */
async function serve(vectors: number) {
  const definition = definePciDevice({
    name: "vectors",
    id: { vendor: 0x1b36, device: 0x01ff, classCode: 0x088000 },
    bars: [msixTable({ vectors, slot: 0 })],
    capabilities: [msix({ vectors, bar: 0 })],
    create: () => ({ read: () => 0, write: () => undefined, reset: () => undefined }),
  });
  const device = new PciDevice(definition, { memory: memfdMemory });
  enableBusMaster(device);
  const [ours, theirs] = socketPair();
  const server = new VfioUserServer(device, { fd: theirs.release() });
  await server.listen();
  onTestFinished(async () => {
    await server.close();
    await device.close(new Task("test"));
  });
  return { device, ours };
}

it("2,048 vectors come in messages of 16 descriptors, and each fires its own eventfd", async () => {
  const { device, ours } = await serve(VECTORS);
  const client = await VfioUserClient.connect(ours);
  onTestFinished(() => client.close());
  const messages = vi.spyOn(device, "setIrqs");
  const msix = client.irq(IrqIndex.MSIX);
  await msix.enable(VECTORS);
  expect(messages.mock.calls.map(([, { start, count }]) => [start, count])).toEqual(
    Array.from({ length: VECTORS / PER_MESSAGE }, (_, i) => [i * PER_MESSAGE, PER_MESSAGE]),
  );
  const fired = new Map<number, number>();
  const all = new Promise<void>((resolve) => {
    msix.onTrigger((vector, count) => {
      fired.set(vector, (fired.get(vector) ?? 0) + count);
      if (fired.size === VECTORS) resolve();
    });
  });
  for (let vector = 0; vector < VECTORS; vector++) device.irqs.msix.raise(vector);
  await all;
  expect([...fired.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: VECTORS }, (_, i) => i));
  expect(new Set(fired.values())).toEqual(new Set([1]));
});

it("cloud-hypervisor's 16 descriptors at once are taken, and each fires", async () => {
  const { device, ours } = await serve(PER_MESSAGE);
  using client = new RawClient(ours);
  await client.negotiate({});
  const fds = Array.from({ length: PER_MESSAGE }, () => createEventFd());
  onTestFinished(() => fds.forEach((fd) => fd.close()));
  const request = {
    argsz: 20,
    flags: FLAGS,
    index: IrqIndex.MSIX,
    start: 0,
    count: PER_MESSAGE,
    data: new Uint8Array(),
  };
  await client.call(
    "DEVICE_SET_IRQS",
    request,
    fds.map((fd) => fd.number),
  );
  for (let vector = 0; vector < PER_MESSAGE; vector++) {
    device.irqs.msix.raise(vector);
    expect(fds.map((fd) => drainEventFd(fd))).toEqual(fds.map((_fd, i) => (i === vector ? 1 : 0)));
  }
});
