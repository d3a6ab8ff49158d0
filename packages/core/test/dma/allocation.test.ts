import { DmaAddressSpace, IrqIndex } from "@vfiokit/core";
import { IrqController } from "@vfiokit/core/host";
import { Task } from "@vfiokit/lockdep";
import { expect, it } from "vitest";
import { CountingTrigger } from "../irq/trigger.js";
import { MappedBacking, request } from "./memory.js";

const CALLS = 20_000;

/**
 * Heap that a call allocates, in bytes. The least of several rounds, each too short for a garbage collection to
 * hide one object a call, after enough of them for the optimizing compiler.
 */
function bytesPerCall(call: () => void): number {
  let least = Infinity;
  for (let round = 0; round < 20; round++) {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < CALLS; i++) call();
    const grown = process.memoryUsage().heapUsed - before;
    if (grown >= 0) least = Math.min(least, grown);
  }
  return least / CALLS;
}

const task = new Task("client");
let sink: unknown;

it("the measurement sees an object a call", () => {
  expect(bytesPerCall(() => (sink = { of: sink === undefined }))).toBeGreaterThan(8);
});

it("raising an interrupt allocates nothing", () => {
  const irqs = new IrqController({ intx: 1, msi: 1, msix: 2, err: 0, req: 0 });
  for (const index of [IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX])
    void irqs.set(task, {
      index,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [new CountingTrigger()] },
    });
  const perCall = bytesPerCall(() => {
    irqs.intx.raise();
    irqs.intx.unmask();
    irqs.intx.lower();
    irqs.msi.raise(0);
    irqs.msix.raise(0);
    irqs.msix.raise(1); // no trigger: pending
  });
  expect(perCall).toBeLessThan(4);
});

it("a short access to mapped memory allocates nothing, logged or not", () => {
  const dma = new DmaAddressSpace();
  void dma.map(task, request(0x10000n, 0x10000n, new MappedBacking(0x10000)));
  dma.dirtyLog.start(4096n, []);
  const buffer = new Uint8Array(16);
  const perCall = bytesPerCall(() => {
    void dma.read(0x10010, buffer);
    void dma.write(0x10ff8, buffer);
  });
  expect(perCall).toBeLessThan(4);
});
