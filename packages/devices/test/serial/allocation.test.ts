import { expect, it } from "vitest";
import type { FunctionHost } from "@vfiokit/core";
import { nullBackend, serialCard, uartRegisters as reg } from "@vfiokit/devices";

// A guest reads and writes a serial card byte by byte: what an access allocates, the garbage collector pays for.

const CALLS = 20_000;

/** Heap that a call allocates, in bytes: the least of several rounds, after enough of them for the compiler. */
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

const line = { raise: () => undefined, lower: () => undefined, set: () => undefined };
const card = serialCard({ backend: nullBackend() }).create({
  intx: line,
  guard: (_what: string, callback: unknown) => callback,
} as unknown as FunctionHost);
const read = (register: number) => card.read!(0, register, 1);
const write = (register: number, value: number) => card.write!(0, register, value, 1);
write(reg.LCR, 0x03);
write(reg.FCR, 0x01);
write(reg.IER, 0x0f);

it("the measurement sees an object a call", () => {
  let sink: unknown;
  expect(bytesPerCall(() => (sink = { of: sink === undefined }))).toBeGreaterThan(8);
});

it("sending a character as Linux does: IIR, LSR, MSR, THR", () => {
  const perCall = bytesPerCall(() => {
    read(reg.IIR);
    read(reg.LSR);
    read(reg.MSR);
    write(reg.THR, 0x55);
  });
  expect(perCall).toBeLessThan(4);
});

it("receiving one, with the time-out's clock: LSR, RBR", () => {
  write(reg.MCR, reg.MCR_LOOP);
  for (let i = 0; i < 8; i++) write(reg.THR, i); // the FIFO never gets empty: every access restarts the time-out
  const perCall = bytesPerCall(() => {
    write(reg.THR, 0x55);
    read(reg.LSR);
    read(reg.RBR);
  });
  expect(perCall).toBeLessThan(4);
});
