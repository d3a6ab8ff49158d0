/** CRC-32C (Castagnoli; RFC 3720 §12.1): reflected polynomial 0x1EDC6F41, initial value and final XOR all ones. */
const REFLECTED_POLYNOMIAL = 0x82f63b78;

/** Bytes taken at a step; `tables[n]` advances a byte's contribution by n further bytes ("slicing by 16"). */
const SLICES = 16;
/** 32-bit words of these. */
const WORDS = 4;

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
const t = tables as readonly Int32Array[];
const [t0, t1, t2, t3] = [t[0]!, t[1]!, t[2]!, t[3]!];
const [t4, t5, t6, t7] = [t[4]!, t[5]!, t[6]!, t[7]!];
const [t8, t9, t10, t11] = [t[8]!, t[9]!, t[10]!, t[11]!];
const [t12, t13, t14, t15] = [t[12]!, t[13]!, t[14]!, t[15]!];

/** Fewer bytes than this are not worth a view of words. */
const WORTH_WORDS = 64;

/**
 * The CRC-32C of `bytes[start..end)` as an unsigned number. `seed` is the CRC of what came before, so that
 * `crc32c(b, crc32c(a))` is the CRC of a and b in a row.
 */
export function crc32c(bytes: Uint8Array, seed = 0, start = 0, end = bytes.byteLength): number {
  let crc = ~seed;
  let i = start;
  if (end - start >= WORTH_WORDS) {
    for (; ((bytes.byteOffset + i) & 3) !== 0; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 0xff]!;
    // Words are little-endian, as on all machines that this runs on.
    const steps = Math.floor((end - i) / SLICES);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + i, steps * WORDS);
    for (let k = 0; k < words.length; k += WORDS) {
      const a = words[k]! ^ crc;
      const b = words[k + 1]!;
      const c = words[k + 2]!;
      const d = words[k + 3]!;
      crc =
        t15[a & 0xff]! ^
        t14[(a >>> 8) & 0xff]! ^
        t13[(a >>> 16) & 0xff]! ^
        t12[a >>> 24]! ^
        t11[b & 0xff]! ^
        t10[(b >>> 8) & 0xff]! ^
        t9[(b >>> 16) & 0xff]! ^
        t8[b >>> 24]! ^
        t7[c & 0xff]! ^
        t6[(c >>> 8) & 0xff]! ^
        t5[(c >>> 16) & 0xff]! ^
        t4[c >>> 24]! ^
        t3[d & 0xff]! ^
        t2[(d >>> 8) & 0xff]! ^
        t1[(d >>> 16) & 0xff]! ^
        t0[d >>> 24]!;
    }
    i += steps * SLICES;
  }
  for (; i < end; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
