/**
 * 64-bit fields as numbers, for the region access path: a bigint would be an allocation a message.
 * All data is little-endian (vfio-user: host endianness; every host that runs Node is little-endian).
 */

const HIGH_LIMIT = 0x20_0000; // 2^53 / 2^32

/** The u64 at `at` as a number; -1 where it is 2^53 or more, so that no number can hold it. */
export function readU64AsNumber(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high < HIGH_LIMIT ? high * 0x1_0000_0000 + view.getUint32(at, true) : -1;
}

/** Writes a number from 0 to 2^53 - 1 as u64. */
export function writeU64FromNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
