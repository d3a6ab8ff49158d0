import { VfioError } from "../errno.js";

/**
 * How one value is written into a section. All numbers are little-endian; a variable length is a u32 in front.
 * `read` refuses (EINVAL) what `write` could not have written.
 */
export interface Codec<T> {
  /** Bytes that `write` will take for this value. */
  size(value: T): number;
  /** @throws VfioError EINVAL if the codec cannot hold the value. */
  write(value: T, out: ByteWriter): void;
  read(from: ByteReader): T;
  equal(a: T, b: T): boolean;
}

/** Exactly `length` elements, or any number of them up to `max`. */
export type Extent = { readonly length: number } | { readonly max: number };

/** Fills a buffer of known size from the front. */
export class ByteWriter {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Reserves the next `size` bytes and returns the offset of the first. */
  take(size: number): number {
    const at = this.#at;
    this.#at += size;
    return at;
  }
}

/** Reads a section's bytes from the front, never past the end. */
export class ByteReader {
  readonly view: DataView;
  #at = 0;

  constructor(readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.bytes.byteLength - this.#at;
  }

  /** Consumes the next `size` bytes and returns the offset of the first. @throws VfioError EINVAL if they are not there. */
  take(size: number): number {
    if (size > this.remaining) {
      throw new VfioError("EINVAL", `${size} bytes expected at offset ${this.#at}, ${this.remaining} left`);
    }
    const at = this.#at;
    this.#at += size;
    return at;
  }
}

function unsigned(bits: 8 | 16 | 32): Codec<number> {
  const bytes = bits / 8;
  const last = 2 ** bits - 1;
  return {
    size: () => bytes,
    write(value, out) {
      if (!Number.isInteger(value) || value < 0 || value > last) {
        throw new VfioError("EINVAL", `${value} is not an unsigned number of ${bits} bits`);
      }
      const at = out.take(bytes);
      if (bits === 8) out.view.setUint8(at, value);
      else if (bits === 16) out.view.setUint16(at, value, true);
      else out.view.setUint32(at, value, true);
    },
    read(from) {
      const at = from.take(bytes);
      if (bits === 8) return from.view.getUint8(at);
      return bits === 16 ? from.view.getUint16(at, true) : from.view.getUint32(at, true);
    },
    equal: Object.is,
  };
}

export const u8Codec = unsigned(8);
export const u16Codec = unsigned(16);
export const u32Codec = unsigned(32);

export const u64Codec: Codec<bigint> = {
  size: () => 8,
  write(value, out) {
    if (value !== BigInt.asUintN(64, value)) {
      throw new VfioError("EINVAL", `${value.toString()} is not an unsigned number of 64 bits`);
    }
    out.view.setBigUint64(out.take(8), value, true);
  },
  read: (from) => from.view.getBigUint64(from.take(8), true),
  equal: Object.is,
};

export const boolCodec: Codec<boolean> = {
  size: () => 1,
  write: (value, out) => out.view.setUint8(out.take(1), value ? 1 : 0),
  read(from) {
    const byte = from.view.getUint8(from.take(1));
    if (byte > 1) throw new VfioError("EINVAL", `${byte} is not a boolean (0 or 1)`);
    return byte === 1;
  },
  equal: Object.is,
};

/** The length prefix of a variable extent: none if the length is fixed. */
function prefixSize(extent: Extent): number {
  return "length" in extent ? 0 : 4;
}

function writeLength(length: number, extent: Extent, out: ByteWriter): void {
  if ("length" in extent) {
    if (length !== extent.length) {
      throw new VfioError("EINVAL", `${length} elements, exactly ${extent.length} are declared`);
    }
    return;
  }
  if (length > extent.max)
    throw new VfioError("EINVAL", `${length} elements, at most ${extent.max} are declared`);
  u32Codec.write(length, out);
}

function readLength(extent: Extent, from: ByteReader): number {
  if ("length" in extent) return extent.length;
  const length = u32Codec.read(from);
  if (length > extent.max)
    throw new VfioError("EINVAL", `${length} elements, at most ${extent.max} are allowed`);
  return length;
}

export function bytesCodec(extent: Extent): Codec<Uint8Array> {
  return {
    size: (value) => prefixSize(extent) + value.byteLength,
    write(value, out) {
      writeLength(value.byteLength, extent, out);
      out.bytes.set(value, out.take(value.byteLength));
    },
    read(from) {
      const length = readLength(extent, from);
      const at = from.take(length);
      return from.bytes.slice(at, at + length);
    },
    equal: (a, b) => a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]),
  };
}

export function arrayCodec(element: Codec<number>, extent: Extent): Codec<readonly number[]> {
  const width = element.size(0);
  return {
    size: (value) => prefixSize(extent) + value.length * width,
    write(value, out) {
      writeLength(value.length, extent, out);
      for (const number of value) element.write(number, out);
    },
    read(from) {
      const length = readLength(extent, from);
      // Checked before anything is allocated for a length that the bytes cannot hold.
      if (length * width > from.remaining) {
        throw new VfioError("EINVAL", `${length * width} bytes expected, ${from.remaining} left`);
      }
      return Array.from({ length }, () => element.read(from));
    },
    equal: (a, b) => a.length === b.length && a.every((number, i) => number === b[i]),
  };
}
