import type { PciFunction } from "./function.js";

/**
 * Turns an access of any size and alignment into register accesses of 1, 2 or 4 bytes, each naturally aligned,
 * in ascending order: a 64-bit access becomes two. Little-endian, as PCI is. Allocates nothing.
 */
export function readRegisters(
  device: Required<Pick<PciFunction, "read">>,
  bar: number,
  offset: number,
  count: number,
  into: Uint8Array,
  at: number,
): void {
  const end = offset + count;
  while (offset < end) {
    const size = widthAt(offset, end - offset);
    const value = device.read(bar, offset, size);
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
  device: Required<Pick<PciFunction, "write">>,
  bar: number,
  offset: number,
  count: number,
  from: Uint8Array,
  at: number,
): void {
  const end = offset + count;
  while (offset < end) {
    const size = widthAt(offset, end - offset);
    let value = from[at]!;
    if (size > 1) value |= from[at + 1]! << 8;
    if (size > 2) value = (value | (from[at + 2]! << 16) | (from[at + 3]! << 24)) >>> 0;
    device.write(bar, offset, value, size);
    offset += size;
    at += size;
  }
}

/** The widest aligned access at `offset` that `left` bytes allow. */
function widthAt(offset: number, left: number): 1 | 2 | 4 {
  if ((offset & 3) === 0 && left >= 4) return 4;
  if ((offset & 1) === 0 && left >= 2) return 2;
  return 1;
}
