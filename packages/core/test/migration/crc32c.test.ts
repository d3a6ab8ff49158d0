import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32c } from "../../src/migration/crc32c.js";

const text = (s: string) => new TextEncoder().encode(s);

/** The definition, a bit at a time. */
function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

describe("CRC-32C", () => {
  it.each([
    ["the check value", text("123456789"), 0xe3069283],
    ["nothing", new Uint8Array(0), 0],
    // RFC 3720, appendix B.4.
    ["32 bytes of zeroes", new Uint8Array(32), 0x8a9136aa],
    ["32 bytes of ones", new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ["32 bytes, rising", Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ["32 bytes, falling", Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])("of %s", (_, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });

  it("is what the definition says for any bytes at any alignment", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(16), fc.nat(16), (bytes, start, offset) => {
        const moved = new Uint8Array(offset + bytes.length).subarray(offset);
        moved.set(bytes);
        expect(crc32c(moved, 0, Math.min(start, bytes.length))).toBe(bitwise(bytes.subarray(start)));
      }),
      { numRuns: 1000 },
    );
  });

  it("goes on from what came before", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
        expect(crc32c(b, crc32c(a))).toBe(bitwise(Uint8Array.of(...a, ...b)));
      }),
    );
  });
});
