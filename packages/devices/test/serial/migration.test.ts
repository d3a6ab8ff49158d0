import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { VfioError, sections } from "@vfiokit/core";
import { uartRegisters as reg } from "@vfiokit/devices";
import { Bench } from "./bench.js";

const { RBR, THR, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR } = reg;

/** Stops the source, carries its state over, and runs it in a new chip. */
function migrate(source: Bench): Bench {
  source.uart.stop();
  const saved = sections({ uart: source.uart.state }).save();
  const destination = new Bench();
  destination.uart.setModemInputs(0xb0);
  destination.uart.stop();
  sections({ uart: destination.uart.state }).prepare(saved)();
  destination.uart.run();
  return destination;
}

it("half-filled FIFOs arrive as they were, the character on its way out included", () => {
  const source = new Bench().setUp();
  source.accept = 2;
  source.write(THR, 1, 2, 3, 4, 5, 6);
  source.receive(10, 11, 12, 13, 14);
  source.read(RBR);
  const destination = migrate(source);
  expect([...source.sent, ...destination.sent]).toEqual([1, 2, 3, 4, 5, 6]);
  expect([0, 1, 2, 3].map(() => destination.read(RBR))).toEqual([11, 12, 13, 14]);
});

it("errors stay with their characters", () => {
  const source = new Bench().setUp();
  source.uart.shiftIn(1, 0);
  source.uart.shiftIn(2, reg.LSR_PE);
  for (let i = 0; i < 16; i++) source.uart.shiftIn(3, 0);
  const destination = migrate(source);
  expect(destination.read(LSR)).toBe(0xe3); // FIFO error, TEMT, THRE, OE, DR
  destination.read(RBR);
  expect(destination.read(LSR)).toBe(0xe5);
  expect(destination.read(LSR)).toBe(0x61);
});

it("pending interrupts stay pending: the line is raised at the new place", () => {
  const source = new Bench().setUp();
  source.write(IER, reg.IER_ERBFI);
  source.receive(1);
  source.clock.advance(10);
  const destination = migrate(source);
  expect(destination.interrupt).toBe(true);
  expect(destination.identity).toBe(reg.IIR_TIME_OUT);
});

it("a THR-empty interrupt that was served is not raised again", () => {
  const source = new Bench().setUp();
  source.write(IER, reg.IER_ETBEI);
  source.read(IIR);
  expect(migrate(source).interrupt).toBe(false);
});

it("the far end still waits while RTS is off", () => {
  const source = new Bench().setUp();
  source.write(MCR, reg.MCR_RTS);
  source.write(MCR, 0);
  expect(migrate(source).receive(1)).toBe(0);
});

it("any state reached by register accesses reads the same after a migration", () => {
  const access = fc.oneof(
    fc.record({ write: fc.integer({ min: 0, max: 7 }), value: fc.integer({ min: 0, max: 255 }) }),
    fc.record({ read: fc.integer({ min: 0, max: 7 }) }),
    fc.record({ receive: fc.integer({ min: 0, max: 255 }), errors: fc.constantFrom(0, 4, 8, 24) }),
  );
  fc.assert(
    fc.property(fc.array(access, { maxLength: 80 }), fc.integer({ min: 0, max: 20 }), (accesses, accept) => {
      const original = new Bench();
      original.uart.setModemInputs(0xb0);
      original.accept = accept;
      for (const a of accesses) {
        if ("write" in a) original.write(a.write, a.value);
        else if ("read" in a) original.read(a.read);
        else original.uart.shiftIn(a.receive, a.errors);
      }
      original.uart.stop();
      const saved = sections({ uart: original.uart.state }).save();
      const copy = new Bench();
      copy.uart.setModemInputs(0xb0);
      copy.uart.stop();
      sections({ uart: copy.uart.state }).prepare(saved)();

      // Both are stopped: the same reads, which drain both, must give the same.
      const everything = (bench: Bench) => {
        const seen: number[] = [];
        const order = [
          LCR,
          IIR,
          IER,
          LSR,
          MCR,
          MSR,
          SCR,
          ...new Array<number[]>(18).fill([RBR, LSR, IIR]).flat(),
        ];
        for (const register of order) seen.push(bench.read(register));
        bench.write(LCR, 0x80);
        seen.push(bench.read(0), bench.read(1));
        bench.write(LCR, 0x03);
        bench.write(MCR, 0);
        bench.accept = Infinity;
        bench.sent.length = 0;
        bench.uart.run();
        return [...seen, ...bench.sent];
      };
      expect(everything(copy)).toEqual(everything(original));
    }),
  );
});

describe("a state that no chip can be in is refused, and the chip stays as it is", () => {
  const names = ["uart"];
  it.each([
    [
      "more characters than the FIFO holds",
      (b: Bench) => b.receive(1, 2),
      { at: 0, value: 0 },
      /leaves room for 1/,
    ],
    ["IER with bits that do not exist", (b: Bench) => b.read(RBR), { at: 1, value: 0xf0 }, /field ier/],
  ])("%s", (_name, fill, patch, message) => {
    const source = new Bench().setUp();
    fill(source);
    const saved = sections({ uart: source.uart.state }).save();
    expect(saved.map((s) => s.name)).toEqual(names);
    saved[0]!.bytes[patch.at] = patch.value;
    const destination = new Bench();
    destination.write(SCR, 0x77);
    expect(() => sections({ uart: destination.uart.state }).prepare(saved)).toThrow(VfioError);
    expect(() => sections({ uart: destination.uart.state }).prepare(saved)).toThrow(message);
    expect(destination.read(SCR)).toBe(0x77);
    expect(destination.read(FCR)).toBe(0x01);
  });
});
