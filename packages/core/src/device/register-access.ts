import type { DeviceFaults } from "./faults.js";

/**
 * Turns an access of any size and alignment into register accesses of 1, 2 or 4 bytes, each naturally aligned,
 * in ascending order: a 64-bit access becomes two. Little-endian, as PCI is. Allocates nothing.
 */
export function readRegisters(
  device: { read(bar: number, offset: number, size: number): number },
  bar: number,
  offset: number,
  count: number,
  into: Uint8Array,
  at: number,
  faults?: DeviceFaults,
): void {
  const end = offset + count;
  while (offset < end) {
    const size = widthAt(offset, end - offset);
    const value = device.read(bar, offset, size);
    if (typeof value !== "number") notSynchronous("read", value, faults);
    into[at] = value;
    if (size > 1) into[at + 1] = value >>> 8;
    if (size > 2) {
      into[at + 2] = value >>> 16;
      into[at + 3] = value >>> 24;
    }
    offset += size;
    at += size;
  }
}

/** The counterpart of `readRegisters`. */
export function writeRegisters(
  device: { write(bar: number, offset: number, value: number, size: number): unknown },
  bar: number,
  offset: number,
  count: number,
  from: Uint8Array,
  at: number,
  faults?: DeviceFaults,
): void {
  const end = offset + count;
  while (offset < end) {
    const size = widthAt(offset, end - offset);
    let value = from[at]!;
    if (size > 1) value |= from[at + 1]! << 8;
    if (size > 2) value = (value | (from[at + 2]! << 16) | (from[at + 3]! << 24)) >>> 0;
    const result = device.write(bar, offset, value, size);
    if (result instanceof Promise) notSynchronous("write", result, faults);
    offset += size;
    at += size;
  }
}

/** An async method fits the types. What it rejects with must have somebody who hears of it. */
function notSynchronous(method: "read" | "write", result: unknown, faults: DeviceFaults | undefined): void {
  faults?.watch(method, result);
  if (method === "read") throw new TypeError(`read returned ${typeof result}: a register is a number`);
}

/** The widest aligned access at `offset` that `left` bytes allow. */
function widthAt(offset: number, left: number): 1 | 2 | 4 {
  if ((offset & 3) === 0 && left >= 4) return 4;
  if ((offset & 1) === 0 && left >= 2) return 2;
  return 1;
}
