/**
 * A struct of the protocol, declared once as data:
 *
 *     const DmaMap = struct("vfio_user_dma_map", { argsz: u32, flags: u32, offset: u64, address: u64, size: u64 });
 *     type DmaMap = StructValue<typeof DmaMap>;
 *
 * Offsets and sizes are computed: no struct of the protocol has padding that is not a field. Decoding, encoding
 * and describing all come from the declaration; `DmaMap.offset.size` is for code that works in place.
 */

import type { Field } from "./field.js";
import { WireError } from "./errors.js";

/** What follows the fixed fields: data whose length comes from the message's size, and often from a field as well. */
export interface Tail<T> {
  readonly tail: true;
  length(value: T): number;
  /** `payload` is the whole struct, the tail starts at `at`. @throws WireError with a field from ".": ".count" */
  read(payload: Uint8Array, at: number, fixed: FixedValues): T;
  /** `payload` is zeroed and has `length(value)` bytes from `at`. @throws WireError */
  write(payload: Uint8Array, at: number, value: T, fixed: FixedValues): void;
  describe(value: T): DescribedField[];
}

/** The fixed fields of the struct that a tail belongs to. */
export type FixedValues = Readonly<Record<string, unknown>>;

/** One line of a tracer's output, with what lies below it. */
export interface DescribedField {
  readonly name: string;
  readonly text: string;
  readonly fields?: readonly DescribedField[];
}

/** The members of a struct, in their order; a tail comes last. */
export type Fields = Readonly<Record<string, Field<unknown> | Tail<unknown>>>;

type FieldValue<F> = F extends Field<infer T> ? T : F extends Tail<infer T> ? T : never;
type Values<F extends Fields> = { readonly [K in keyof F]: FieldValue<F[K]> };
/** What a struct holds, decoded. */
export type StructValue<S> = S extends Struct<infer F> ? Values<F> : never;

/** A C struct, little-endian and without padding: its size, and how to encode, decode and check it. */
export class Struct<F extends Fields> {
  /** Where each field is, in bytes; the tail included. */
  readonly offset: { readonly [K in keyof F]: number };
  /** Bytes of the fixed fields. */
  readonly size: number;
  private readonly fixed: readonly (readonly [string, Field<unknown>, number])[];
  private readonly tail: readonly [string, Tail<unknown>] | undefined;

  constructor(
    readonly name: string,
    readonly fields: F,
  ) {
    const offset: Record<string, number> = {};
    const fixed: [string, Field<unknown>, number][] = [];
    let tail: [string, Tail<unknown>] | undefined;
    let at = 0;
    for (const [key, field] of Object.entries(fields)) {
      if (tail) throw new Error(`${name}: ${key} follows the tail ${tail[0]}`);
      offset[key] = at;
      if ("tail" in field) {
        tail = [key, field];
      } else {
        fixed.push([key, field, at]);
        at += field.size;
      }
    }
    this.offset = offset as { [K in keyof F]: number };
    this.size = at;
    this.fixed = fixed;
    this.tail = tail;
  }

  /**
   * Bytes beyond a struct without a tail are ignored, as libvfio-user and the kernel do (structs may grow).
   * Byte arrays in the value are views of `payload`.
   * @throws WireError
   */
  decode(payload: Uint8Array): Values<F> {
    if (payload.length < this.size) {
      throw new WireError(this.name, `${payload.length} bytes`, `it needs ${this.size}`);
    }
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const value: Record<string, unknown> = {};
    for (const [key, field, at] of this.fixed) value[key] = field.read(view, at);
    if (this.tail) {
      const [key, tail] = this.tail;
      value[key] = this.named(() => tail.read(payload, this.size, value));
    }
    return value as Values<F>;
  }

  /** @throws WireError for a value that does not fit into its field */
  encode(value: Values<F>): Uint8Array<ArrayBuffer> {
    const payload = new Uint8Array(this.length(value));
    this.write(value, payload);
    return payload;
  }

  /** Bytes of `value` when encoded. */
  length(value: Values<F>): number {
    if (!this.tail) return this.size;
    const [key, tail] = this.tail;
    return this.size + this.named(() => tail.length(value[key]));
  }

  /** Encodes into `payload`, which is zeroed and has the value's length. @throws WireError */
  write(value: Values<F>, payload: Uint8Array): void {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    for (const [key, field, at] of this.fixed) {
      const rule = field.refuse(value[key]);
      if (rule !== undefined) throw new WireError(`${this.name}.${key}`, String(value[key]), rule);
      field.write(view, at, value[key]);
    }
    if (this.tail) {
      const [key, tail] = this.tail;
      this.named(() => tail.write(payload, this.size, value[key], value));
    }
  }

  describe(value: Values<F>): DescribedField[] {
    const lines = this.fixed.map(([name, field]): DescribedField => ({
      name,
      text: field.text(value[name]),
    }));
    if (this.tail) {
      const [key, tail] = this.tail;
      lines.push(...tail.describe(value[key]));
    }
    return lines;
  }

  /** A rule of one field that a message broke: for checks that more than the field decides. */
  error(
    field: keyof F & string,
    value: unknown,
    rule: string,
    code?: "EINVAL" | "E2BIG" | "EOVERFLOW",
  ): WireError {
    return new WireError(`${this.name}.${field}`, String(value), rule, code);
  }

  /** A tail names fields from ".": relative to the struct that it is in. */
  private named<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof WireError) || !error.field.startsWith(".")) throw error;
      throw new WireError(this.name + error.field, error.value, error.rule, error.code);
    }
  }
}

/** Declares a struct by the names that C has for it and its members. */
export function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  return new Struct(name, fields);
}
