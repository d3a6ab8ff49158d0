import {
  arrayCodec,
  boolCodec,
  bytesCodec,
  u16Codec,
  u32Codec,
  u64Codec,
  u8Codec,
  type Codec,
  type Extent,
} from "./codec.js";

/** What a field of a section may say beside how to get and set it. */
export interface FieldOptions<T> {
  /** What the field holds in a stream that was written before the field existed. */
  readonly default?: T;
  /** The section version that introduced the field (1). From 2 on it needs a default. */
  readonly since?: number;
  /** False refuses the stream: registers that hold only certain values. */
  valid?(value: T): boolean;
}

/** One value of a device's state: how to get it, how to set it, how it is written. */
export interface Field<T> extends FieldOptions<T> {
  readonly codec: Codec<T>;
  get(): T;
  set(value: T): void;
}

type Getter<T> = () => T;
type Setter<T> = (value: T) => void;

function field<T>(codec: Codec<T>, get: Getter<T>, set: Setter<T>, options: FieldOptions<T> = {}): Field<T> {
  return { codec, get, set, ...options };
}

/** An unsigned number of 8 bits. */
export function u8(get: Getter<number>, set: Setter<number>, options?: FieldOptions<number>): Field<number> {
  return field(u8Codec, get, set, options);
}
/** An unsigned number of 16 bits. */
export function u16(get: Getter<number>, set: Setter<number>, options?: FieldOptions<number>): Field<number> {
  return field(u16Codec, get, set, options);
}
/** An unsigned number of 32 bits. */
export function u32(get: Getter<number>, set: Setter<number>, options?: FieldOptions<number>): Field<number> {
  return field(u32Codec, get, set, options);
}
/** An unsigned number of 64 bits. */
export function u64(get: Getter<bigint>, set: Setter<bigint>, options?: FieldOptions<bigint>): Field<bigint> {
  return field(u64Codec, get, set, options);
}
/** A flag: one byte, 0 or 1. */
export function bool(
  get: Getter<boolean>,
  set: Setter<boolean>,
  options?: FieldOptions<boolean>,
): Field<boolean> {
  return field(boolCodec, get, set, options);
}
/** A byte string of fixed (`{ length: 256 }`) or variable size (`{ max: 16 }`: a FIFO). `set` gets its own copy. */
export function bytes(
  extent: Extent,
  get: Getter<Uint8Array>,
  set: Setter<Uint8Array>,
  options?: FieldOptions<Uint8Array>,
): Field<Uint8Array> {
  return field(bytesCodec(extent), get, set, options);
}

const elements = { u8: u8Codec, u16: u16Codec, u32: u32Codec };

/** Numbers of one width: `array("u32", { length: 8 }, …)`. */
export function array(
  element: keyof typeof elements,
  extent: Extent,
  get: Getter<readonly number[]>,
  set: Setter<readonly number[]>,
  options?: FieldOptions<readonly number[]>,
): Field<readonly number[]> {
  return field(arrayCodec(elements[element], extent), get, set, options);
}
