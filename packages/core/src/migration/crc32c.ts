/** CRC-32C (Castagnoli; RFC 3720 §12.1): reflected polynomial 0x1EDC6F41, initial value and final XOR all ones. */
const REFLECTED_POLYNOMIAL = 0x82f63b78;

/** Bytes taken at a step; `tables[n]` advances a byte's contribution by n further bytes ("slicing by 8"). */
const SLICES = 8;

const tables = Array.from({ length: SLICES }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ REFLECTED_POLYNOMIAL : crc >>> 1;
  tables[0]![byte] = crc;
}
for (let n = 1; n < SLICES; n++) {
  for (let byte = 0; byte < 256; byte++) {
    const before = tables[n - 1]![byte]!;
    tables[n]![byte] = (before >>> 8) ^ tables[0]![before & 0xff]!;
  }
}
const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/**
 * The CRC-32C of `bytes[start..end)` as an unsigned number. `seed` is the CRC of what came before, so that
 * `crc32c(b, crc32c(a))` is the CRC of a and b in a row.
 */
export function crc32c(bytes: Uint8Array, seed = 0, start = 0, end = bytes.byteLength): number {
  let crc = ~seed;
  let i = start;
  for (; i + SLICES <= end; i += SLICES) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[i + 4]!]! ^
      t2[bytes[i + 5]!]! ^
      t1[bytes[i + 6]!]! ^
      t0[bytes[i + 7]!]!;
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
