import { describe, expect, it } from "vitest";
import { registers, ro, rw, rw1c, section, sections, wo } from "@vfiokit/core";

const sent: number[] = [];

function bank() {
  sent.length = 0;
  return registers(
    {
      control: rw(0x00, { mask: 0x3 }),
      status: rw1c(0x04, { mask: 0xf }),
      level: rw(0x08, { mask: 0xffff, reset: 1000, stream: "u16" }),
      version: ro(0x0c, { reset: 7, stream: "none" }),
      send: wo(0x10, { mask: 0xff }),
      now: ro(0x14, { stream: "none" }),
      limit: rw(0x18, { reset: 50, since: 2 }),
    },
    {
      control: { written: () => sent.push(-1) },
      send: { write: (value) => sent.push(value) },
      now: { read: () => 0xffff_ffff },
    },
  );
}

describe("a bank of registers", () => {
  it("read and write: the masks hold, and the hook is called after the value is there", () => {
    const regs = bank();
    const { values } = regs;
    regs.write(0x00, 0xff, 4);
    expect(values.control).toBe(3);
    expect(sent).toEqual([-1]);
    expect(regs.read(0x00, 4)).toBe(3);
  });

  it("write 1 to clear: ones clear, zeros leave, and nothing can be set", () => {
    const regs = bank();
    const { values } = regs;
    values.status = 0b0110;
    regs.write(0x04, 0b1010, 4);
    expect(regs.read(0x04, 4)).toBe(0b0100);
  });

  it("read alone, write alone, and a read that is computed, unsigned", () => {
    const regs = bank();
    regs.write(0x0c, 1, 4);
    expect(regs.read(0x0c, 4)).toBe(7);
    regs.write(0x10, 0x141, 4);
    expect(sent).toEqual([0x41]);
    expect(regs.read(0x10, 4)).toBe(0);
    expect(regs.read(0x14, 4)).toBe(0xffff_ffff);
  });

  it.each([
    [0x00, 1],
    [0x00, 2],
    [0x02, 2],
    [0x20, 4],
    [0x1000, 4],
  ])("offset %d, %d bytes: no register, reads 0 and drops writes", (offset, size) => {
    const regs = bank();
    regs.values.control = 3;
    regs.write(offset, 0, size);
    expect(regs.values.control).toBe(3);
    expect(regs.read(offset, size)).toBe(0);
  });

  it("reset: each value is what it was declared to be, and no hook is called", () => {
    const regs = bank();
    regs.values.level = 5;
    regs.values.control = 1;
    regs.reset();
    expect(regs.values).toMatchObject({ control: 0, level: 1000, version: 7, limit: 50 });
    expect(sent).toEqual([]);
  });

  it.each([
    ["a multiple of 4", () => registers({ a: rw(2) })],
    ["offset 4 is that of a", () => registers({ a: rw(4), b: ro(4) })],
    ["bits outside of mask 1", () => registers({ a: rw(0, { mask: 1, reset: 2 }) })],
    ["needs a write hook", () => registers({ a: wo(0) })],
    ["is never called", () => registers({ a: ro(0) }, { a: { write: () => undefined } })],
  ])("a declaration that cannot be is refused: %s", (rule, declare) => {
    expect(declare).toThrow(rule);
  });
});

describe("its migration", () => {
  it("one declaration: what holds state is in the section, in its order and its width", () => {
    expect(Object.keys(bank().fields)).toEqual(["control", "status", "level", "limit"]);
    const { values, fields } = bank();
    const saved = sections({ registers: section(fields) }).save();
    expect(saved).toMatchObject([{ name: "registers", version: 1 }]); // limit holds its reset value: version 1 says all
    expect(saved[0]!.bytes).toHaveLength(4 + 4 + 2);
    values.limit = 51;
    expect(sections({ registers: section(fields) }).save()).toMatchObject([{ version: 2 }]);
  });

  it("goes from one bank to another, and a register that the stream is too old for has its reset value", () => {
    const [from, to] = [bank(), bank()];
    Object.assign(from.values, { control: 2, status: 9, level: 12 });
    to.values.limit = 3;
    sections({ registers: section(to.fields) }).prepare(
      sections({ registers: section(from.fields) }).save(),
    )();
    expect(to.values).toMatchObject({ control: 2, status: 9, level: 12, limit: 50 });
  });

  it("a stream with bits that the register does not have is refused, by its name", () => {
    const [from, to] = [bank(), bank()];
    from.values.control = 4; // the device's own mistake
    const saved = sections({ registers: section(from.fields) }).save();
    expect(() => sections({ registers: section(to.fields) }).prepare(saved)).toThrow(
      "section registers: field control: not one of its valid values",
    );
    expect(to.values.control).toBe(0);
  });
});
