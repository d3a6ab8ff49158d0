import { Task } from "@vfiokit/lockdep";
import { beforeEach, describe, expect, it } from "vitest";
import {
  definePciDevice,
  IrqIndex,
  mmio,
  msi,
  msix,
  msixTable,
  PciDevice,
  pm,
  type FunctionHost,
} from "@vfiokit/core";
import { PciCommand, PciHeader, PciPm, PowerState } from "@vfiokit/core/pci";

const CONFIG = 7;
const task = new Task("test");
let device: PciDevice;
let host: FunctionHost;

beforeEach(() => {
  device = new PciDevice(
    definePciDevice({
      name: "master",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      bars: [mmio({ size: 0x1000 }), msixTable({ vectors: 4, slot: 4 })],
      capabilities: [pm(), msi({ vectors: 2 }), msix({ vectors: 4, bar: 4 })],
      create: (given) => {
        host = given;
        return { read: () => 0, write: () => undefined, reset: () => undefined };
      },
    }),
  );
  const bytes = new Uint8Array(4096);
  void device.dma.map(task, {
    address: 0x1000n,
    size: 4096n,
    readable: true,
    writable: true,
    backing: {
      bytes,
      read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      write: (offset, from) => bytes.set(from, offset),
      release: () => undefined,
    },
  });
});

async function writeConfig(offset: number, value: number): Promise<void> {
  await device.writeRegion(task, CONFIG, offset, 2, Uint8Array.of(value & 0xff, value >> 8), 0);
}

const setCommand = (value: number) => writeConfig(PciHeader.COMMAND, value);

function listen(index: number): () => number {
  let signals = 0;
  const trigger = {
    signal: () => {
      signals++;
    },
    close: () => undefined,
  };
  void device.setIrqs(task, { index, start: 0, count: 1, action: "trigger", data: { triggers: [trigger] } });
  return () => signals;
}

describe("while Bus Master Enable is 0 (PCI 3.0 §6.2.2)", () => {
  it("from power-on, DMA fails in the device, with a view as without", async () => {
    const bytes = Uint8Array.of(1, 2, 3, 4);
    expect(() => host.dma.write(0x1000, bytes)).toThrow("EACCES: DMA write: Bus Master Enable is 0");
    expect(() => host.dma.read(0x1000, bytes)).toThrow("EACCES: DMA read: Bus Master Enable is 0");
    expect(host.dma.view(0x1000, 4)).toBeUndefined();
    expect(host.dma.modify(0x1000, 4, () => undefined)).toBe(false);
    await setCommand(PciCommand.MASTER);
    expect(host.dma.write(0x1000, bytes)).toBeUndefined();
    expect(host.dma.view(0x1000, 4)![3]).toBe(4);
    await setCommand(0);
    expect(() => host.dma.read(0x1000, bytes)).toThrow("EACCES");
  });

  it("DMA of a task that holds locks is rejected", async () => {
    await expect(host.dma.read(0x1000, new Uint8Array(4), task)).rejects.toThrow("Bus Master Enable is 0");
    expect(device.dma.mmapLock.holders()).toEqual([]);
  });

  it.each([
    ["MSI", IrqIndex.MSI],
    ["MSI-X", IrqIndex.MSIX],
  ] as const)("%s messages stay pending, and go out once when it is 1", async (_name, index) => {
    const signals = listen(index);
    const messages = index === IrqIndex.MSI ? host.msi : host.msix;
    messages.raise(0);
    messages.raise(0);
    expect(signals()).toBe(0);
    await setCommand(PciCommand.MASTER);
    expect(signals()).toBe(1);
    messages.raise(0);
    expect(signals()).toBe(2);
  });

  it("after a reset there is neither DMA nor a message", async () => {
    await setCommand(PciCommand.MASTER);
    const signals = listen(IrqIndex.MSI);
    await device.reset(task);
    host.msi.raise(0);
    expect(signals()).toBe(0);
    expect(() => host.dma.read(0x1000, new Uint8Array(4))).toThrow("EACCES");
  });

  it("in D3hot likewise, whatever the bit says", async () => {
    await setCommand(PciCommand.MASTER);
    const control = device.capabilities.pm!.offset + PciPm.CTRL;
    await writeConfig(control, PowerState.D3HOT);
    expect(() => host.dma.read(0x1000, new Uint8Array(4))).toThrow("EACCES");
    await writeConfig(control, PowerState.D0);
    expect(host.dma.read(0x1000, new Uint8Array(4))).toBeUndefined();
  });
});
