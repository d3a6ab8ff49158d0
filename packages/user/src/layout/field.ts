/** Fields of fixed size: how a value is read, written and shown. Little-endian throughout. */

export interface Field<T> {
  /** Bytes. */
  readonly size: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
  /** Why `value` does not fit into the field; undefined where it does. */
  refuse(value: T): string | undefined;
  text(value: T): string;
}

function integer(
  size: 1 | 2 | 4,
  min: number,
  max: number,
  read: (view: DataView, at: number) => number,
  write: (view: DataView, at: number, value: number) => void,
): Field<number> {
  return {
    size,
    read,
    write,
    refuse: (value) =>
      Number.isInteger(value) && value >= min && value <= max ? undefined : `an integer ${min} to ${max}`,
    text: String,
  };
}

export const u8 = integer(
  1,
  0,
  0xff,
  (view, at) => view.getUint8(at),
  (view, at, value) => view.setUint8(at, value),
);

export const u16 = integer(
  2,
  0,
  0xffff,
  (view, at) => view.getUint16(at, true),
  (view, at, value) => view.setUint16(at, value, true),
);

export const u32 = integer(
  4,
  0,
  0xffff_ffff,
  (view, at) => view.getUint32(at, true),
  (view, at, value) => view.setUint32(at, value, true),
);

export const s32 = integer(
  4,
  -0x8000_0000,
  0x7fff_ffff,
  (view, at) => view.getInt32(at, true),
  (view, at, value) => view.setInt32(at, value, true),
);

export const U64_END = 1n << 64n;

export const u64: Field<bigint> = {
  size: 8,
  read: (view, at) => view.getBigUint64(at, true),
  write: (view, at, value) => view.setBigUint64(at, value, true),
  refuse: (value) =>
    typeof value === "bigint" && value >= 0n && value < U64_END ? undefined : "a bigint 0 to 2^64 - 1",
  text: (value) => `0x${value.toString(16)}`,
};

/** `count` raw bytes. Read as a view of the message, not a copy. */
export function bytes(count: number): Field<Uint8Array> {
  return {
    size: count,
    read: (view, at) => new Uint8Array(view.buffer, view.byteOffset + at, count),
    write: (view, at, value) => new Uint8Array(view.buffer, view.byteOffset + at, count).set(value),
    refuse: (value) => (value.length === count ? undefined : `${count} bytes`),
    text: bytesText,
  };
}

/** Names of bits, or of values. */
export type Names = Readonly<Record<string, number>>;

/** A field whose bits have names. The value stays a number (or a bigint): `flags & RegionFlags.READ`. */
export interface FlagsField<T extends number | bigint> extends Field<T> {
  readonly names: Names;
  /** The bits of `value` that have no name. */
  unknown(value: T): bigint;
}

/** `low` describes bits that are not flags: the feature index in the low half of a feature's flags. */
export function flags<T extends number | bigint>(
  of: Field<T>,
  names: Names,
  low?: { readonly mask: number; readonly text: (value: number) => string },
): FlagsField<T> {
  const lowMask = BigInt(low?.mask ?? 0);
  const known = Object.values(names).reduce((mask, bit) => mask | BigInt(bit), lowMask);
  const unknown = (value: T): bigint => BigInt(value) & ~known;
  return {
    ...of,
    names,
    unknown,
    text(value) {
      const all = BigInt(value);
      const set = Object.keys(names).filter((name) => all & BigInt(names[name]!));
      if (low) set.unshift(low.text(Number(all & lowMask)));
      const rest = unknown(value);
      if (rest) set.push(`0x${rest.toString(16)}?`);
      return `0x${all.toString(16)}${set.length ? ` ${set.join("|")}` : ""}`;
    },
  };
}

/** A number that stands for one of several names. Other values are read as they are, and shown as unknown. */
export function choice(of: Field<number>, names: Names): Field<number> {
  return { ...of, text: (value) => `${value} ${nameOf(names, value) ?? "unknown"}` };
}

export function nameOf(names: Names, value: number): string | undefined {
  return Object.keys(names).find((name) => names[name] === value);
}

const SHOWN_BYTES = 32;

/** "de ad be ef", cut after 32 bytes. */
export function bytesText(value: Uint8Array): string {
  const shown = Array.from(value.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0"));
  return value.length > SHOWN_BYTES ? `${shown.join(" ")} … (${value.length} bytes)` : shown.join(" ");
}
