import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as wire from "@vfiokit/user/wire";
import {
  decodeMessage,
  describeMessage,
  encodeMessage,
  formatDescription,
  HEADER_SIZE,
  Header,
  WireError,
  type CommandName,
  type Fields,
  type Message,
  type Struct,
} from "@vfiokit/user/wire";
import { message, payloads, u16 } from "./arbitrary.js";

const runs = { numRuns: 300 };

/** A value, or the only exception that decoding may throw. */
function decodeOrWireError(bytes: Uint8Array): Message | WireError {
  try {
    return decodeMessage(bytes);
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
}

describe("decode(encode(x)) = x", () => {
  for (const command of Object.keys(payloads) as CommandName[]) {
    const [request, reply] = payloads[command] as readonly [fc.Arbitrary<unknown>, fc.Arbitrary<unknown>];
    it(command, () => {
      fc.assert(
        fc.property(request, reply, u16, fc.boolean(), (asked, answered, msg_id, no_reply) => {
          for (const x of [
            { kind: "request", command, msg_id, no_reply, payload: asked },
            { kind: "reply", command, msg_id, payload: answered },
          ] as Message[]) {
            const bytes = encodeMessage(x);
            expect(decodeMessage(bytes)).toEqual(x);
            expect(Header.decode(bytes).msg_size).toBe(bytes.length);
          }
        }),
        runs,
      );
    });
  }

  it("error replies are the header alone", () => {
    fc.assert(
      fc.property(message, (x) => {
        if (x.kind !== "error") return;
        const bytes = encodeMessage(x);
        expect(bytes.length).toBe(HEADER_SIZE);
        expect(decodeMessage(bytes)).toEqual(x);
      }),
    );
  });
});

describe("each struct alone", () => {
  const structs = Object.values(wire).filter((value) => value instanceof wire.Struct) as Struct<Fields>[];

  it.each(structs.map((struct) => [struct.name, struct] as const))(
    "%s: any bytes decode to a value that encodes to an equal value, or to a WireError",
    (_name, struct) => {
      let decoded = 0;
      fc.assert(
        fc.property(fc.uint8Array({ minLength: struct.size, maxLength: struct.size + 48 }), (bytes) => {
          let value: Readonly<Record<string, unknown>>;
          try {
            value = struct.decode(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
            return;
          }
          decoded++;
          expect(struct.describe(value)).toBeInstanceOf(Array);
          try {
            expect(struct.decode(struct.encode(value))).toEqual(value);
          } catch (error) {
            // A reply that was cut short, or has its capabilities elsewhere: readable, never written by us.
            if (!(error instanceof WireError)) throw error;
          }
        }),
        runs,
      );
      if (!Object.values(struct.fields).some((field) => "tail" in field)) expect(decoded).toBeGreaterThan(0);
    },
  );
});

describe("any byte string decodes to a value or a WireError, and can be described", () => {
  const check = (bytes: Uint8Array): void => {
    decodeOrWireError(bytes);
    expect(formatDescription(describeMessage(bytes)).length).toBeGreaterThan(0);
  };

  it("random bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 128 }), check), { numRuns: 2000 });
  });

  it("random bytes behind a header with the right size", () => {
    fc.assert(
      fc.property(
        fc.nat(20),
        fc.constantFrom(0, 1, 0x10),
        fc.uint8Array({ maxLength: 128 }),
        (cmd, flags, body) => {
          const bytes = new Uint8Array(HEADER_SIZE + body.length);
          Header.write(
            { msg_id: 1, cmd, msg_size: bytes.length, flags, error_no: 0 },
            bytes.subarray(0, HEADER_SIZE),
          );
          bytes.set(body, HEADER_SIZE);
          check(bytes);
        },
      ),
      { numRuns: 5000 },
    );
  });

  it("valid messages with bytes changed, cut or appended", () => {
    const mutation = fc.tuple(fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(
        message,
        fc.array(mutation, { maxLength: 4 }),
        fc.integer({ min: -20, max: 20 }),
        (x, changes, by) => {
          const original = encodeMessage(x);
          const bytes = new Uint8Array(Math.max(0, original.length + by));
          bytes.set(original.subarray(0, bytes.length));
          for (const [at, value] of changes) if (bytes.length) bytes[at % bytes.length] = value;
          check(bytes);
          if (bytes.length >= HEADER_SIZE) {
            new DataView(bytes.buffer).setUint32(Header.offset.msg_size, bytes.length, true);
            check(bytes);
          }
        },
      ),
      { numRuns: 5000 },
    );
  });
});

it("messages are read where they lie: at an odd offset of a larger buffer", () => {
  fc.assert(
    fc.property(message, fc.nat(9), (x, before) => {
      const bytes = encodeMessage(x);
      const larger = new Uint8Array(before + bytes.length + 7).fill(0xaa);
      larger.set(bytes, before);
      expect(decodeMessage(larger.subarray(before, before + bytes.length))).toEqual(x);
    }),
    runs,
  );
});

describe("64-bit fields as numbers", () => {
  const view = new DataView(new ArrayBuffer(8));

  it("agree with bigint up to 2^53 - 1, and are -1 above", () => {
    fc.assert(
      fc.property(fc.oneof(fc.bigInt(0n, 1n << 54n), fc.bigInt(0n, (1n << 64n) - 1n)), (value) => {
        view.setBigUint64(0, value, true);
        expect(wire.readU64AsNumber(view, 0)).toBe(value < 1n << 53n ? Number(value) : -1);
      }),
    );
    for (const [value, expected] of [
      [(1n << 53n) - 1n, Number.MAX_SAFE_INTEGER],
      [1n << 53n, -1],
      [(1n << 64n) - 1n, -1],
    ] as const) {
      view.setBigUint64(0, value, true);
      expect(wire.readU64AsNumber(view, 0)).toBe(expected);
    }
  });

  it("are written as bigint would be", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        wire.writeU64FromNumber(view, 0, value);
        expect(view.getBigUint64(0, true)).toBe(BigInt(value));
      }),
    );
  });
});
