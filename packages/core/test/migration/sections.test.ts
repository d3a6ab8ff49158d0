import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  array,
  bool,
  bytes,
  memory,
  section,
  sections,
  u16,
  u32,
  u64,
  u8,
  type Field,
  type SavedSection,
  type StateSections,
} from "../../src/migration/sections.js";

/** A variable with the getter and the setter that a field wants. */
function cell<T>(value: T) {
  const c = { value, get: () => c.value, set: (v: T) => void (c.value = v) };
  return c;
}

/** Saves from `from` and loads into `into`, both phases. */
function transfer(from: StateSections, into: StateSections): void {
  into.prepare(from.save())();
}

const raw = (name: string, ...content: number[]): SavedSection => ({
  name,
  version: 1,
  optional: false,
  bytes: Uint8Array.from(content),
});

describe("fields", () => {
  it("are little-endian, a variable length is a u32 in front", () => {
    const state = sections({
      all: section({
        a: u8(() => 0x12, ignore),
        b: u16(() => 0x1234, ignore),
        c: u32(() => 0x12345678, ignore),
        d: u64(() => 0x123456789abcdef0n, ignore),
        e: bool(() => true, ignore),
        f: bytes({ length: 2 }, () => Uint8Array.of(1, 2), ignore),
        g: bytes({ max: 9 }, () => Uint8Array.of(3), ignore),
        h: array("u16", { length: 1 }, () => [0x1234], ignore),
        i: array("u32", { max: 2 }, () => [], ignore),
      }),
    });
    expect(Buffer.from(state.save()[0]!.bytes).toString("hex")).toBe(
      [
        "12", // a
        "3412", // b
        "78563412", // c
        "f0debc9a78563412", // d
        "01", // e
        "0102", // f
        "0100000003", // g
        "3412", // h
        "00000000", // i
      ].join(""),
    );
  });

  it("come back as they were saved, whatever they hold", () => {
    const values = fc.record({
      a: fc.integer({ min: 0, max: 0xff }),
      b: fc.integer({ min: 0, max: 0xffff }),
      c: fc.integer({ min: 0, max: 0xffffffff }),
      d: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      e: fc.boolean(),
      f: fc.uint8Array({ minLength: 4, maxLength: 4 }),
      g: fc.uint8Array({ maxLength: 16 }),
      h: fc.array(fc.integer({ min: 0, max: 0xff }), { minLength: 3, maxLength: 3 }),
      i: fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 5 }),
    });
    type Values = typeof values extends fc.Arbitrary<infer V> ? V : never;
    const declare = (v: Values) =>
      sections({
        mixed: section({
          a: u8(
            () => v.a,
            (x) => (v.a = x),
          ),
          b: u16(
            () => v.b,
            (x) => (v.b = x),
          ),
          c: u32(
            () => v.c,
            (x) => (v.c = x),
          ),
          d: u64(
            () => v.d,
            (x) => (v.d = x),
          ),
          e: bool(
            () => v.e,
            (x) => (v.e = x),
          ),
        }),
        f: bytes(
          { length: 4 },
          () => v.f,
          (x) => (v.f = Uint8Array.from(x)),
        ),
        g: bytes(
          { max: 16 },
          () => v.g,
          (x) => (v.g = Uint8Array.from(x)),
        ),
        h: array(
          "u8",
          { length: 3 },
          () => v.h,
          (x) => (v.h = [...x]),
        ),
        i: array(
          "u32",
          { max: 5 },
          () => v.i,
          (x) => (v.i = [...x]),
        ),
      });
    fc.assert(
      fc.property(values, values, (from, into) => {
        transfer(declare(from), declare(into));
        expect(into).toEqual(from);
      }),
    );
  });

  it.each<[string, Field<unknown>, string]>([
    ["u8", u8(() => 256, ignore), "256 is not an unsigned number of 8 bits"],
    ["u8", u8(() => -1, ignore), "-1 is not an unsigned number of 8 bits"],
    ["u16", u16(() => 1.5, ignore), "1.5 is not an unsigned number of 16 bits"],
    ["u32", u32(() => 2 ** 32, ignore), "4294967296 is not an unsigned number of 32 bits"],
    ["u64", u64(() => -1n, ignore), "-1 is not an unsigned number of 64 bits"],
    ["bytes", bytes({ length: 2 }, () => Uint8Array.of(1), ignore), "1 elements, exactly 2 are declared"],
    ["bytes", bytes({ max: 1 }, () => Uint8Array.of(1, 2), ignore), "2 elements, at most 1 are declared"],
    ["array", array("u8", { max: 1 }, () => [1, 2], ignore), "2 elements, at most 1 are declared"],
  ])(
    "%s: a value that does not fit is a mistake of the device, found when it is saved",
    (_, field, message) => {
      expect(() => sections({ it: field }).save()).toThrow(`EINVAL: section it: field value: ${message}`);
    },
  );

  it.each<[Field<unknown>, number[], string]>([
    [u32(zero, ignore), [1, 2, 3], "field value: 4 bytes expected at offset 0, 3 left"],
    [u8(zero, ignore), [1, 2], "1 bytes too many for version 1"],
    [bool(() => false, ignore), [2], "field value: 2 is not a boolean (0 or 1)"],
    [
      bytes({ max: 2 }, none, ignore),
      [3, 0, 0, 0, 1, 2, 3],
      "field value: 3 elements, at most 2 are allowed",
    ],
    [bytes({ max: 9 }, none, ignore), [9, 0, 0, 0, 1], "field value: 9 bytes expected at offset 4, 1 left"],
    [
      array("u32", { max: 1e9 }, () => [], ignore),
      [0, 0, 0, 0x20],
      "field value: 2147483648 bytes expected, 0 left",
    ],
    [u8(zero, ignore, { valid: (v) => v < 8 }), [8], "field value: not one of its valid values"],
  ])("refuse bytes that they could not have written (%#)", (field, content, message) => {
    expect(() => sections({ it: field }).prepare([raw("it", ...content)])).toThrow(
      `EINVAL: section it: ${message}`,
    );
  });

  it("give a device its own copy of the bytes, those of a default too", () => {
    const fallback = Uint8Array.of(7);
    const fifo = cell(Uint8Array.of(1));
    const state = sections({
      fifo: bytes({ max: 4 }, fifo.get, fifo.set as (v: Uint8Array) => void, { default: fallback }),
    });
    const saved = state.save();
    state.prepare(saved)();
    fifo.value[0] = 99;
    expect(saved[0]!.bytes.at(-1)).toBe(1);
    state.prepare([])();
    fifo.value[0] = 99;
    expect(fallback).toEqual(Uint8Array.of(7));
  });
});

describe("loading", () => {
  it("has two phases: what is refused changes nothing", () => {
    const a = cell(1);
    const b = cell(2);
    const state = sections({ a: u8(a.get, a.set), b: u8(b.get, b.set, { valid: (v) => v < 8 }) });
    expect(() => state.prepare([raw("a", 5), raw("b", 200)])).toThrow("section b");
    expect([a.value, b.value]).toEqual([1, 2]);

    const commit = state.prepare([raw("a", 5), raw("b", 6)]);
    expect([a.value, b.value]).toEqual([1, 2]);
    commit();
    expect([a.value, b.value]).toEqual([5, 6]);
  });

  it("checks rules between fields", () => {
    const head = cell(0);
    const count = cell(0);
    const state = sections({
      fifo: section(
        { head: u8(head.get, head.set), count: u8(count.get, count.set) },
        {
          validate: (v) =>
            v.head + v.count > 16 ? `${v.count} bytes do not fit behind ${v.head}` : undefined,
        },
      ),
    });
    expect(() => state.prepare([raw("fifo", 10, 7)])).toThrow(
      "EINVAL: section fifo: 7 bytes do not fit behind 10",
    );
    state.prepare([raw("fifo", 10, 6)])();
    expect([head.value, count.value]).toEqual([10, 6]);
  });

  it("does not depend on the order of the sections", () => {
    const a = cell(0);
    const b = cell(0);
    sections({ a: u8(a.get, a.set), b: u8(b.get, b.set) }).prepare([raw("b", 2), raw("a", 1)])();
    expect([a.value, b.value]).toEqual([1, 2]);
  });

  it.each<[string, SavedSection[], string]>([
    ["a missing section", [], "section a: missing from the stream"],
    ["a section given twice", [raw("a", 1), raw("a", 1)], "section a: given twice"],
    ["an unknown section", [raw("a", 1), raw("zz", 1)], "section zz: this device does not know it"],
    ["a newer version", [{ ...raw("a", 1), version: 2 }], "section a: version 2, this device reads 1 to 1"],
    ["version 0", [{ ...raw("a", 1), version: 0 }], "section a: version 0, this device reads 1 to 1"],
  ])("refuses %s", (_, saved, message) => {
    expect(() => sections({ a: u8(zero, ignore) }).prepare(saved)).toThrow(`EINVAL: ${message}`);
  });

  it("ends with a value or an EINVAL for any bytes", () => {
    const state = sections({
      s: section({
        a: u16(zero, ignore),
        b: bytes({ max: 8 }, none, ignore),
        c: array("u32", { max: 2 ** 31 }, () => [], ignore),
        d: bool(() => false, ignore),
      }),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (content) => {
        try {
          state.prepare([{ ...raw("s"), bytes: content }]);
        } catch (error) {
          expect(error).toMatchObject({ code: "EINVAL" });
        }
      }),
    );
  });
});

describe("old and new versions of a device", () => {
  const old = (lcr: ReturnType<typeof cell<number>>) =>
    sections({ uart: section({ lcr: u8(lcr.get, lcr.set) }) });
  /** The same device later: a field more in its section, and a section more. */
  const newer = (
    lcr: ReturnType<typeof cell<number>>,
    scratch: ReturnType<typeof cell<number>>,
    stats: ReturnType<typeof cell<number>>,
    optional = false,
  ) =>
    sections({
      uart: section({
        scratch: u8(scratch.get, scratch.set, { since: 2, default: 0xff }),
        lcr: u8(lcr.get, lcr.set),
      }),
      stats: section({ sent: u32(stats.get, stats.set, { default: 0 }) }, { optional }),
    });

  it("an old stream loads into the new device, new fields at their defaults", () => {
    const [lcr, scratch, stats] = [cell(0), cell(1), cell(2)];
    transfer(old(cell(3)), newer(lcr, scratch, stats));
    expect([lcr.value, scratch.value, stats.value]).toEqual([3, 0xff, 0]);
  });

  it("the new device goes back to the old one while nothing would be lost", () => {
    const lcr = cell(0);
    transfer(newer(cell(3), cell(0xff), cell(0)), old(lcr));
    expect(lcr.value).toBe(3);
  });

  it("the old device refuses what it would lose", () => {
    expect(() => transfer(newer(cell(3), cell(0x55), cell(0)), old(cell(0)))).toThrow(
      "section uart: version 2, this device reads 1 to 1",
    );
    expect(() => transfer(newer(cell(3), cell(0xff), cell(9)), old(cell(0)))).toThrow(
      "section stats: this device does not know it",
    );
  });

  it("unless it may: unknown optional sections are skipped", () => {
    const lcr = cell(0);
    transfer(newer(cell(3), cell(0xff), cell(9), true), old(lcr));
    expect(lcr.value).toBe(3);
  });

  it("new to new keeps everything", () => {
    const [lcr, scratch, stats] = [cell(0), cell(1), cell(2)];
    transfer(newer(cell(3), cell(0x55), cell(9)), newer(lcr, scratch, stats));
    expect([lcr.value, scratch.value, stats.value]).toEqual([3, 0x55, 9]);
  });

  it("an optional section of a newer version is skipped too", () => {
    const hint = cell(1);
    const state = sections({
      hint: section({ v: u8(hint.get, hint.set, { default: 4 }) }, { optional: true }),
    });
    state.prepare([{ name: "hint", version: 2, optional: true, bytes: Uint8Array.of(1, 2, 3) }])();
    expect(hint.value).toBe(4);
  });

  it("a later field without a default is refused at once, not at the first old stream", () => {
    expect(() => section({ late: u8(zero, ignore, { since: 2 }) })).toThrow(
      "EINVAL: field late: since version 2, so it needs a default",
    );
  });
});

describe("memory", () => {
  it("is saved without a copy and loaded with one, at its exact size only", () => {
    const source = Uint8Array.of(1, 2, 3, 4);
    const target = new Uint8Array(4);
    const state = sections({ ram: memory(4, () => target) });
    const saved = sections({ ram: memory(4, () => source) }).save();
    expect(saved[0]!.bytes).toBe(source);

    state.prepare(saved)();
    expect(target).toEqual(source);
    expect(() => state.prepare([raw("ram", 1, 2, 3)])).toThrow("section ram: 3 bytes, the memory has 4");
    expect(() => state.prepare([])).toThrow("section ram: missing from the stream");
  });
});

function ignore(): void {
  // a setter for fields that a test only writes
}
function zero(): number {
  return 0;
}
function none(): Uint8Array {
  return new Uint8Array(0);
}
