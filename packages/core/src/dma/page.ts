/**
 * Addresses of a client are 64-bit. Inside this folder one is a page frame (up to 2^52, exact in a number) and
 * an offset in the page, so that no access computes with bigints.
 */

/** Granularity of maps and of dirty logging: the smallest page size of vfio-user and of the VFIO uAPI. */
export const PAGE_SIZE = 4096;
const PAGE_SHIFT = 12n;
const OFFSET_MASK = 0xfffn;

/** One past the last address: 2^64. */
export const ADDRESS_END = 1n << 64n;

/** An address of the client's memory: a number where it is a safe integer, else a bigint. */
export type DmaAddress = number | bigint;

/** Page frame of an address; of what is no address (negative, 2^64 and above), a frame that no map has. */
export function frameOf(address: DmaAddress): number {
  return typeof address === "number" ? Math.floor(address / PAGE_SIZE) : Number(address >> PAGE_SHIFT);
}

export function offsetOf(address: DmaAddress): number {
  return typeof address === "number" ? address & (PAGE_SIZE - 1) : Number(address & OFFSET_MASK);
}

export function addressOf(frame: number, offset: number): bigint {
  return (BigInt(frame) << PAGE_SHIFT) + BigInt(offset);
}

/** "0x1000" */
export function hex(value: DmaAddress): string {
  return `0x${value.toString(16)}`;
}

/** "0x1000" for frame 1. */
export function pageName(frame: number): string {
  return hex(addressOf(frame, 0));
}
