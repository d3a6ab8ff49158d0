/** The usual tails: raw bytes, bytes that a field counts, an array of structs that a field counts. */

import { WireError } from "./errors.js";
import { bytesText } from "./field.js";
import type { DescribedField, Fields, FixedValues, Struct, StructValue, Tail } from "./struct.js";

function counted(fixed: FixedValues, field: string): bigint {
  return BigInt(fixed[field] as number | bigint);
}

function describeBytes(name: string, value: Uint8Array): DescribedField[] {
  return value.length ? [{ name, text: bytesText(value) }] : [];
}

/** Whatever the message still holds. Read as a view of it. */
export const rest: Tail<Uint8Array> = {
  tail: true,
  length: (value) => value.length,
  read: (payload, at) => payload.subarray(at),
  write: (payload, at, value) => payload.set(value, at),
  describe: (value) => describeBytes("data", value),
};

/** Bytes whose number the field `count` holds: the message has exactly so many. Read as a view of it. */
export function dataOf(count: string): Tail<Uint8Array> {
  const check = (fixed: FixedValues, length: number): void => {
    if (counted(fixed, count) !== BigInt(length)) {
      throw new WireError(`.${count}`, String(fixed[count]), `the message holds ${length} bytes of data`);
    }
  };
  return {
    ...rest,
    read(payload, at, fixed) {
      check(fixed, payload.length - at);
      return payload.subarray(at);
    },
    write(payload, at, value, fixed) {
      check(fixed, value.length);
      payload.set(value, at);
    },
  };
}

/**
 * Bytes whose number the field `count` holds, and padding, which is ignored: libvfio-user's replies are as long as was
 * asked for, and so are ours to it. Read as a view; written as they are, with the padding.
 */
export function paddedDataOf(count: string): Tail<Uint8Array> {
  const check = (fixed: FixedValues, length: number): void => {
    if (counted(fixed, count) > BigInt(length))
      throw new WireError(`.${count}`, String(fixed[count]), `the message holds ${length} bytes of data`);
  };
  return {
    ...rest,
    read(payload, at, fixed) {
      check(fixed, payload.length - at);
      return payload.subarray(at, at + Number(counted(fixed, count)));
    },
    write(payload, at, value, fixed) {
      check(fixed, value.length);
      payload.set(value, at);
    },
  };
}

/** Structs of fixed size whose number the field `count` holds. Bytes after the last are ignored. */
export function arrayOf<F extends Fields>(
  element: Struct<F>,
  count: string,
): Tail<readonly StructValue<Struct<F>>[]> {
  return {
    tail: true,
    length: (value) => value.length * element.size,
    read(payload, at, fixed) {
      const held = Math.floor((payload.length - at) / element.size);
      if (counted(fixed, count) > BigInt(held)) {
        throw new WireError(
          `.${count}`,
          String(fixed[count]),
          `the message holds ${held} of ${element.size} bytes`,
        );
      }
      return Array.from({ length: Number(fixed[count]) }, (_, index) =>
        element.decode(payload.subarray(at + index * element.size)),
      );
    },
    write(payload, at, value, fixed) {
      if (counted(fixed, count) !== BigInt(value.length)) {
        throw new WireError(`.${count}`, String(fixed[count]), `the array has ${value.length} elements`);
      }
      value.forEach((one, index) => {
        const from = at + index * element.size;
        element.write(one, payload.subarray(from, from + element.size));
      });
    },
    describe: (value) =>
      value.map((one, index) => ({
        name: `[${index}]`,
        text: element
          .describe(one)
          .map(({ name, text }) => `${name} ${text}`)
          .join(", "),
      })),
  };
}
