import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { MsixTable } from "../../src/pci/index.js";

/** Offsets in an entry. */
const LOWER_ADDR = 0;
const UPPER_ADDR = 4;
const DATA = 8;
const VECTOR_CTRL = 12;
const entry = (vector: number): number => 16 * vector;

describe("MSI-X table (PCI 3.0 §6.8.2)", () => {
  let changes: [number, boolean][];
  let table: MsixTable;
  beforeEach(() => {
    changes = [];
    table = new MsixTable(70, (vector, masked) => changes.push([vector, masked]));
  });

  it("every vector starts masked, all else is 0", () => {
    for (let vector = 0; vector < 70; vector++) {
      expect(table.isMasked(vector)).toBe(true);
      expect(table.readTable(entry(vector) + VECTOR_CTRL, 4)).toBe(1);
      for (const offset of [LOWER_ADDR, UPPER_ADDR, DATA])
        expect(table.readTable(entry(vector) + offset, 4)).toBe(0);
    }
    expect(changes).toEqual([]);
  });

  it("16 bytes a vector, a pending bit a vector in words of 64", () => {
    expect([table.tableSize, table.pbaSize]).toEqual([1120, 16]);
    expect(new MsixTable(64, () => undefined).pbaSize).toBe(8);
  });

  it("address and data are software's; addresses are multiples of 4", () => {
    for (const offset of [LOWER_ADDR, UPPER_ADDR, DATA]) table.writeTable(entry(69) + offset, 0xffffffff, 4);
    expect([0, 4, 8].map((offset) => table.readTable(entry(69) + offset, 4))).toEqual([
      0xfffffffc, 0xffffffff, 0xffffffff,
    ]);
  });

  it("each write of the mask bit is reported, one of 1 over the 1 of power-on too", () => {
    table.writeTable(entry(5) + VECTOR_CTRL, 1, 4);
    expect(changes).toEqual([[5, true]]);
    changes = [];
    table.writeTable(entry(3) + VECTOR_CTRL, 0, 4);
    table.writeTable(entry(3) + VECTOR_CTRL, 0, 4);
    table.writeTable(entry(3) + VECTOR_CTRL, 0xffffffff, 4);
    expect(changes).toEqual([
      [3, false],
      [3, false],
      [3, true],
    ]);
    expect(table.readTable(entry(3) + VECTOR_CTRL, 4)).toBe(1);
  });

  it("a listener sees the new mask", () => {
    let seen: boolean | undefined;
    const watched = new MsixTable(1, (vector) => (seen = watched.isMasked(vector)));
    watched.writeTable(VECTOR_CTRL, 0, 4);
    expect(seen).toBe(false);
  });

  it("writes of other sizes or between registers are ignored", () => {
    table.writeTable(entry(1) + VECTOR_CTRL, 0, 1);
    table.writeTable(entry(1) + DATA, 0x1234, 2);
    table.writeTable(entry(1) + DATA + 2, 0xffffffff, 4);
    expect([table.isMasked(1), table.readTable(entry(1) + DATA, 4), changes]).toEqual([true, 0, []]);
  });

  it("smaller reads take their part", () => {
    table.writeTable(entry(0) + DATA, 0x44332211, 4);
    expect(table.readTable(DATA + 1, 1)).toBe(0x22);
    expect(table.readTable(DATA + 2, 2)).toBe(0x4433);
  });

  it("pending bits: bit v of the array is vector v's", () => {
    for (const vector of [0, 33, 69]) table.setPending(vector, true);
    expect([0, 4, 8, 12].map((offset) => table.readPba(offset, 4))).toEqual([1, 2, 0x20, 0]);
    table.setPending(33, false);
    expect([table.isPending(0), table.isPending(33), table.isPending(69)]).toEqual([true, false, true]);
    expect(table.readPba(4, 4)).toBe(0);
  });

  it("reset masks every vector, drops what is pending, and reports nothing", () => {
    table.writeTable(entry(5) + VECTOR_CTRL, 0, 4);
    table.writeTable(entry(5) + DATA, 7, 4);
    table.setPending(5, true);
    changes.length = 0;
    table.reset();
    expect([table.isMasked(5), table.isPending(5), table.readTable(entry(5) + DATA, 4)]).toEqual([
      true,
      false,
      0,
    ]);
    expect(changes).toEqual([]);
  });

  it("a snapshot carries the table over", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(279), fc.nat(0xffffffff))), (writes) => {
        for (const [register, value] of writes) table.writeTable(4 * register, value, 4);
        const target = new MsixTable(70, () => undefined);
        target.load(table.snapshot());
        expect(target.snapshot()).toEqual(table.snapshot());
      }),
    );
  });

  it("hostile state keeps reserved bits 0, of another length it is refused", () => {
    table.load(new Uint8Array(1120).fill(0xff));
    expect(table.readTable(entry(9) + VECTOR_CTRL, 4)).toBe(1);
    expect(table.readTable(entry(9) + LOWER_ADDR, 4)).toBe(0xfffffffc);
    expect(() => table.load(new Uint8Array(1119))).toThrow(
      /EINVAL: MSI-X table: 1119 bytes .* 70 vectors take 1120/,
    );
    expect(changes).toEqual([]);
  });
});
