import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { Uart16550, loopbackBackend, systemClock, uartRegisters as reg } from "@vfiokit/devices";
import { Bench } from "./bench.js";

const { RBR, THR, LSR, LSR_DR, LSR_THRE, LSR_TEMT, MCR, FCR } = reg;

describe("receiving", () => {
  it("takes what there is room for, and calls when there is room again", () => {
    const bench = new Bench().setUp();
    expect(bench.receive(...new Array<number>(20).fill(7))).toBe(16);
    expect(bench.readyCalls).toBe(0);
    bench.read(RBR);
    expect(bench.readyCalls).toBe(1);
    bench.read(RBR);
    expect(bench.readyCalls).toBe(1); // nobody waits any more
    expect(bench.read(LSR) & reg.LSR_OE).toBe(0);
  });

  it("a far end that was told to wait refills the FIFO while it is read", () => {
    const bench = new Bench().setUp();
    const text = Uint8Array.from({ length: 1000 }, (_, i) => i & 0xff);
    let offered = 0;
    bench.onReady = () => (offered += bench.uart.receive(text, offered));
    bench.onReady();
    const read: number[] = [];
    while (bench.read(LSR) & LSR_DR) read.push(bench.read(RBR));
    expect(read).toEqual([...text]);
  });

  it("the far end waits while RTS is off, once it has been on", () => {
    const bench = new Bench().setUp();
    expect(bench.receive(1)).toBe(1); // a driver that never uses RTS receives all the same
    bench.write(MCR, reg.MCR_RTS);
    expect(bench.receive(2)).toBe(1);
    bench.write(MCR, 0);
    expect(bench.receive(3)).toBe(0);
    expect(bench.readyCalls).toBe(0);
    bench.write(MCR, reg.MCR_RTS);
    expect(bench.readyCalls).toBe(1);
    bench.write(MCR, 0);
    bench.uart.reset();
    expect(bench.receive(4)).toBe(1);
  });

  it("a driver's look at RTS in loopback is not a use of it", () => {
    const bench = new Bench().setUp();
    bench.write(MCR, reg.MCR_LOOP | reg.MCR_RTS);
    bench.write(MCR, 0);
    expect(bench.receive(1)).toBe(1);
  });
});

describe("sending", () => {
  it("waits for the far end, and goes on when that calls", () => {
    const bench = new Bench().setUp();
    bench.accept = 3;
    bench.write(THR, 1, 2, 3, 4, 5);
    expect(bench.sent).toEqual([1, 2, 3]);
    expect(bench.read(LSR) & LSR_THRE).toBe(0);
    bench.accept = 10;
    bench.uart.transmit();
    expect(bench.sent).toEqual([1, 2, 3, 4, 5]);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
  });
});

describe("stopped", () => {
  it("sends nothing and takes nothing; registers answer; afterwards it goes on where it was", () => {
    const bench = new Bench().setUp();
    bench.uart.stop();
    bench.write(THR, 1, 2);
    expect(bench.receive(3)).toBe(0);
    bench.onReady = () => void bench.receive(3);
    expect(bench.read(LSR)).toBe(0);
    expect(bench.sent).toEqual([]);
    bench.uart.run();
    expect(bench.sent).toEqual([1, 2]);
    expect(bench.read(RBR)).toBe(3);
  });

  it("has no timer running; the character time-out starts anew", () => {
    const bench = new Bench().setUp();
    bench.write(reg.IER, reg.IER_ERBFI);
    bench.receive(1);
    bench.uart.stop();
    expect(bench.clock.armed).toBe(false);
    bench.clock.advance(100);
    expect(bench.interrupt).toBe(false);
    bench.uart.run();
    bench.clock.advance(5);
    expect(bench.identity).toBe(reg.IIR_TIME_OUT);
  });
});

it("no character is lost or made up in either direction, whatever the two ends do", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("write" as const), count: fc.integer({ min: 1, max: 16 }) }),
    fc.record({ do: fc.constant("read" as const), count: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ do: fc.constant("offer" as const), count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ do: fc.constant("accept" as const), count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ do: fc.constant("rts" as const), count: fc.integer({ min: 0, max: 1 }) }),
    fc.record({ do: fc.constant("pause" as const), count: fc.integer({ min: 0, max: 3 }) }),
    fc.record({ do: fc.constant("trigger" as const), count: fc.integer({ min: 0, max: 3 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const bench = new Bench().setUp();
      bench.accept = 0;
      const written: number[] = [];
      const read: number[] = [];
      const offered: number[] = [];
      let taken = 0;
      const offer = () => (taken += bench.uart.receive(Uint8Array.from(offered), taken));
      bench.onReady = offer;

      const readAll = (count: number) => {
        for (let i = 0; i < count && bench.read(LSR) & LSR_DR; i++) read.push(bench.read(RBR));
      };
      for (const { do: what, count } of steps) {
        if (what === "write" && bench.read(LSR) & LSR_THRE) {
          // What a driver does: up to 16 characters when THRE is set.
          for (let i = 0; i < count; i++) {
            written.push(written.length & 0xff);
            bench.write(THR, written.at(-1)!);
          }
        } else if (what === "read") readAll(count);
        else if (what === "offer") {
          const waiting = taken < offered.length;
          for (let i = 0; i < count; i++) offered.push(offered.length & 0xff);
          if (!waiting) offer();
        } else if (what === "accept") {
          bench.accept += count;
          bench.uart.transmit();
        } else if (what === "rts") bench.write(MCR, count * reg.MCR_RTS);
        else if (what === "trigger") bench.write(FCR, 0x01 | (count << 6));
        else if (what === "pause") {
          bench.uart.stop();
          readAll(count);
          bench.uart.run();
        }
      }

      bench.accept = Infinity;
      bench.uart.transmit();
      bench.write(MCR, reg.MCR_RTS);
      readAll(Infinity);
      expect(bench.sent).toEqual(written);
      expect(read).toEqual(offered);
    }),
  );
});

it("a loopback plug returns every character, at the pace of the reader", () => {
  const backend = loopbackBackend();
  const uart = new Uart16550(
    {
      interrupt: () => undefined,
      send: (character) => backend.send(character),
      sendBreak: (on) => backend.sendBreak?.(on),
      receiverReady: () => backend.ready(),
    },
    systemClock,
  );
  backend.attach({
    receive: (bytes, from, to) => uart.receive(bytes, from, to),
    receiveBreak: () => uart.receiveBreak(),
    writable: () => uart.transmit(),
  });
  uart.writeRegister(reg.LCR, 0x03);
  uart.writeRegister(FCR, 0x01);
  // 16 in the receiver, one in the shift register, 16 in the transmitter FIFO.
  for (let i = 0; i < 33; i++) uart.writeRegister(THR, i);
  expect(uart.readRegister(LSR)).toBe(LSR_DR);
  const read: number[] = [];
  while (uart.readRegister(LSR) & LSR_DR) read.push(uart.readRegister(RBR));
  expect(read).toEqual(Array.from({ length: 33 }, (_, i) => i));
  expect(uart.readRegister(LSR)).toBe(LSR_THRE | LSR_TEMT);
  uart.stop();
});
