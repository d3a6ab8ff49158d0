import { describe, expect, it } from "vitest";
import { uartRegisters as reg } from "@vfiokit/devices";
import { Bench, CHARACTER_TIME } from "./bench.js";

// The order is that of the PC16550D data sheet, section 8.

const { RBR, THR, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR, DLL, DLM } = reg;
const { LSR_DR, LSR_OE, LSR_PE, LSR_FE, LSR_BI, LSR_THRE, LSR_TEMT, LSR_FIFO_ERROR } = reg;
const { IIR_LINE_STATUS, IIR_DATA_AVAILABLE, IIR_TIME_OUT, IIR_THR_EMPTY, IIR_MODEM_STATUS, IIR_NONE } = reg;

const range = (count: number, first = 0) => Array.from({ length: count }, (_, i) => first + i);

describe("reset configuration", () => {
  const bench = new Bench().setUp();
  bench.uart.setModemInputs(reg.MSR_CTS | reg.MSR_DCD);
  bench.write(IER, 0x0f);
  bench.write(MCR, 0x0f);
  bench.write(SCR, 0x5a);
  bench.receive(1, 2, 3);
  bench.accept = 0;
  bench.write(THR, ...range(10));
  bench.uart.reset();

  it.each([
    ["IER", IER, 0x00],
    ["IIR", IIR, 0x01],
    ["LCR", LCR, 0x00],
    ["MCR", MCR, 0x00],
    ["LSR", LSR, 0x60],
    ["MSR bits 0 to 3; bits 4 to 7 are the inputs", MSR, 0x90],
    ["SCR (not in the sheet)", SCR, 0x00],
    ["RBR", RBR, 0x00],
  ])("%s", (_name, register, value) => {
    expect(bench.read(register)).toBe(value);
  });

  it("INTR is low, and both FIFOs are empty", () => {
    expect(bench.interrupt).toBe(false);
    bench.accept = Infinity;
    bench.uart.transmit();
    expect(bench.sent).toEqual([]);
  });

  it("what a waiting far end holds back comes a character time later", () => {
    const waiting = new Bench().setUp();
    waiting.onReady = () => waiting.receive(0x42);
    waiting.receive(...range(20));
    waiting.uart.reset();
    expect(waiting.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
    waiting.clock.advance(10);
    expect(waiting.read(LSR)).toBe(LSR_DR | LSR_THRE | LSR_TEMT);
  });
});

describe("line control register", () => {
  it("keeps all eight bits", () => {
    const bench = new Bench();
    bench.write(LCR, 0xbf);
    expect(bench.read(LCR)).toBe(0xbf);
  });

  it.each([
    [0, 0x1f],
    [1, 0x3f],
    [2, 0x7f],
    [3, 0xff],
  ])("bits 0 and 1 = %i: the characters of both directions have the bits of 0x%i", (wordLength, mask) => {
    const bench = new Bench();
    bench.write(LCR, wordLength);
    bench.write(THR, 0xff);
    bench.receive(0xff);
    expect(bench.sent).toEqual([mask]);
    expect(bench.read(RBR)).toBe(mask);
  });

  it("bit 7, DLAB, puts the divisor latches at offsets 0 and 1", () => {
    const bench = new Bench();
    bench.write(LCR, reg.LCR_DLAB);
    bench.write(DLL, 0x34);
    bench.write(DLM, 0x12);
    expect([bench.read(DLL), bench.read(DLM)]).toEqual([0x34, 0x12]);
    bench.write(LCR, 0x03);
    expect([bench.read(RBR), bench.read(IER)]).toEqual([0, 0]);
    expect(bench.sent).toEqual([]);
  });

  it("bit 6 holds SOUT at spacing: the transmitter goes on, nothing of it is seen", () => {
    const bench = new Bench().setUp();
    bench.write(LCR, 0x43);
    bench.write(THR, 0x55);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
    bench.write(LCR, 0x03);
    bench.write(THR, 0xaa);
    expect(bench.breaks).toEqual([true, false]);
    expect(bench.sent).toEqual([0xaa]);
  });

  it("a reset ends a break", () => {
    const bench = new Bench();
    bench.write(LCR, 0x43);
    bench.uart.reset();
    expect(bench.breaks).toEqual([true, false]);
  });
});

describe("line status register", () => {
  it("cannot be written", () => {
    const bench = new Bench();
    bench.write(LSR, 0xff);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
  });

  it("bit 0, DR: from a character's arrival until all of them are read", () => {
    const bench = new Bench().setUp();
    expect(bench.read(LSR) & LSR_DR).toBe(0);
    bench.receive(1, 2);
    expect(bench.read(LSR) & LSR_DR).toBe(LSR_DR);
    expect(bench.read(RBR)).toBe(1);
    expect(bench.read(LSR) & LSR_DR).toBe(LSR_DR);
    expect(bench.read(RBR)).toBe(2);
    expect(bench.read(LSR) & LSR_DR).toBe(0);
  });

  it("bit 1, OE, 16450 mode: the new character replaces the one in the RBR", () => {
    const bench = new Bench();
    bench.write(LCR, 0x03);
    bench.uart.shiftIn(1, 0);
    bench.uart.shiftIn(2, 0);
    expect(bench.read(LSR) & LSR_OE).toBe(LSR_OE);
    expect(bench.read(LSR) & LSR_OE).toBe(0);
    expect(bench.read(RBR)).toBe(2);
    expect(bench.read(LSR) & LSR_DR).toBe(0);
  });

  it("bit 1, OE, FIFO mode: the FIFO keeps its 16 characters, the new one is lost", () => {
    const bench = new Bench().setUp();
    for (const character of range(18)) bench.uart.shiftIn(character, 0);
    expect(bench.read(LSR) & LSR_OE).toBe(LSR_OE);
    expect(bench.read(LSR) & LSR_OE).toBe(0);
    expect(range(17).map(() => bench.read(RBR))).toEqual([...range(16), 0]);
  });

  it.each([
    ["bit 2, PE", LSR_PE],
    ["bit 3, FE", LSR_FE],
    ["bit 4, BI", LSR_BI],
  ])(
    "%s: shown when its character is at the top of the FIFO, and cleared by reading the LSR",
    (_name, error) => {
      const bench = new Bench().setUp();
      bench.uart.shiftIn(1, 0);
      bench.uart.shiftIn(2, error);
      bench.uart.shiftIn(3, 0);
      expect(bench.read(LSR)).toBe(LSR_FIFO_ERROR | LSR_THRE | LSR_TEMT | LSR_DR);
      expect(bench.read(RBR)).toBe(1);
      expect(bench.read(LSR)).toBe(LSR_FIFO_ERROR | LSR_THRE | LSR_TEMT | LSR_DR | error);
      expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT | LSR_DR);
      expect(bench.read(RBR)).toBe(2);
      expect(bench.read(RBR)).toBe(3);
    },
  );

  it("a break is one zero character, with BI and the framing error of its missing stop bit", () => {
    const bench = new Bench().setUp();
    bench.uart.receiveBreak();
    expect(bench.read(LSR)).toBe(LSR_FIFO_ERROR | LSR_THRE | LSR_TEMT | LSR_DR | LSR_BI | LSR_FE);
    expect(bench.read(RBR)).toBe(0);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
  });

  it("bits 5 and 6, THRE and TEMT: THR or FIFO empty; and the shift register too", () => {
    const bench = new Bench().setUp();
    bench.accept = 0;
    bench.write(THR, 1);
    expect(bench.read(LSR)).toBe(LSR_THRE); // in the shift register
    bench.write(THR, 2);
    expect(bench.read(LSR)).toBe(0);
    bench.accept = 1;
    bench.uart.transmit();
    expect(bench.read(LSR)).toBe(LSR_THRE);
    bench.accept = 1;
    bench.uart.transmit();
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
    expect(bench.sent).toEqual([1, 2]);
  });

  it("bit 7: stays while an error waits further down in the FIFO", () => {
    const bench = new Bench().setUp();
    bench.uart.shiftIn(1, LSR_PE);
    bench.uart.shiftIn(2, LSR_FE);
    expect(bench.read(LSR) & LSR_FIFO_ERROR).toBe(LSR_FIFO_ERROR);
    expect(bench.read(LSR) & LSR_FIFO_ERROR).toBe(LSR_FIFO_ERROR);
    bench.read(RBR);
    expect(bench.read(LSR) & LSR_FIFO_ERROR).toBe(LSR_FIFO_ERROR);
    expect(bench.read(LSR) & LSR_FIFO_ERROR).toBe(0);
  });

  it("bit 7: always 0 in 16450 mode", () => {
    const bench = new Bench();
    bench.uart.shiftIn(1, LSR_PE);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT | LSR_DR | LSR_PE);
  });
});

describe("FIFO control register", () => {
  it("bit 0 shows in bits 6 and 7 of the IIR", () => {
    const bench = new Bench();
    expect(bench.read(IIR) & 0xc0).toBe(0x00);
    bench.write(FCR, 0x01);
    expect(bench.read(IIR) & 0xc0).toBe(0xc0);
    bench.write(FCR, 0x00);
    expect(bench.read(IIR) & 0xc0).toBe(0x00);
  });

  it("a change of bit 0 empties both FIFOs", () => {
    const bench = new Bench().setUp();
    bench.accept = 0;
    bench.write(THR, ...range(5));
    bench.receive(1, 2, 3);
    bench.write(FCR, 0x00);
    expect(bench.read(LSR)).toBe(LSR_THRE); // the shift register keeps its character
  });

  it("emptying the receiver FIFO takes the characters' errors with them; an overrun stays on record", () => {
    for (const fcr of [0x03, 0x00]) {
      const bench = new Bench().setUp();
      for (let i = 0; i < 17; i++) bench.uart.shiftIn(i, LSR_PE);
      bench.write(FCR, fcr);
      expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT | LSR_OE);
      bench.write(FCR, 0x01);
      expect(bench.read(LSR)).toBe(LSR_THRE | LSR_TEMT);
    }
  });

  it("bit 1 empties the receiver FIFO only, and clears itself", () => {
    const bench = new Bench().setUp();
    bench.accept = 0;
    bench.write(THR, 1, 2, 3);
    bench.receive(1, 2, 3);
    bench.write(FCR, 0xc0 | 0x02 | 0x01);
    expect(bench.read(LSR)).toBe(0);
    bench.receive(4);
    expect(bench.read(RBR)).toBe(4);
    bench.accept = 3;
    bench.uart.transmit();
    expect(bench.sent).toEqual([1, 2, 3]);
  });

  it("bit 2 empties the transmitter FIFO only, and not the shift register", () => {
    const bench = new Bench().setUp();
    bench.accept = 0;
    bench.write(THR, 1, 2, 3);
    bench.receive(7);
    bench.write(FCR, 0xc0 | 0x04 | 0x01);
    expect(bench.read(LSR)).toBe(LSR_THRE | LSR_DR);
    bench.accept = 3;
    bench.uart.transmit();
    expect(bench.sent).toEqual([1]);
  });

  it("bit 0 must be 1 when other bits are written, or they are not programmed", () => {
    const bench = new Bench();
    bench.write(LCR, 0x03);
    bench.write(IER, reg.IER_ERBFI);
    bench.receive(9);
    bench.write(FCR, 0xc0 | 0x02);
    expect(bench.read(RBR)).toBe(9);
  });

  it.each([
    [0x00, 1],
    [0x40, 4],
    [0x80, 8],
    [0xc0, 14],
  ])("bits 6 and 7 = 0x%i: the received-data interrupt comes at %i characters", (bits, level) => {
    const bench = new Bench().setUp();
    bench.write(FCR, bits | 0x01);
    bench.write(IER, reg.IER_ERBFI);
    bench.receive(...range(level - 1));
    expect(bench.identity).toBe(IIR_NONE);
    bench.receive(0xff);
    expect(bench.interrupt).toBe(true);
    expect(bench.identity).toBe(IIR_DATA_AVAILABLE);
    bench.read(RBR);
    expect(bench.interrupt).toBe(false);
  });

  it("holds 16 characters to send; a 17th is lost", () => {
    const bench = new Bench().setUp();
    bench.accept = 0;
    bench.write(THR, ...range(18)); // one goes on to the shift register
    bench.accept = Infinity;
    bench.uart.transmit();
    expect(bench.sent).toEqual(range(17));
  });

  it("16450 mode: a character in the THR is overwritten", () => {
    const bench = new Bench();
    bench.write(LCR, 0x03);
    bench.accept = 0;
    bench.write(THR, 1, 2, 3);
    bench.accept = Infinity;
    bench.uart.transmit();
    expect(bench.sent).toEqual([1, 3]);
  });
});

describe("interrupt enable register", () => {
  it("bits 4 to 7 are always 0", () => {
    const bench = new Bench();
    bench.write(IER, 0xff);
    expect(bench.read(IER)).toBe(0x0f);
  });

  it.each([
    ["bit 0, received data", reg.IER_ERBFI, IIR_DATA_AVAILABLE],
    ["bit 1, THR empty", reg.IER_ETBEI, IIR_THR_EMPTY],
    ["bit 2, line status", reg.IER_ELSI, IIR_LINE_STATUS],
    ["bit 3, modem status", reg.IER_EDSSI, IIR_MODEM_STATUS],
  ])("%s: enables that interrupt and no other", (_name, enable, identity) => {
    const bench = new Bench();
    bench.uart.shiftIn(1, LSR_PE);
    bench.uart.setModemInputs(reg.MSR_CTS);
    expect(bench.interrupt).toBe(false);
    bench.write(IER, enable);
    expect(bench.interrupt).toBe(true);
    expect(bench.identity).toBe(identity);
    bench.write(IER, 0x0f & ~enable);
    expect(bench.identity).not.toBe(identity);
  });
});

describe("interrupt identification register", () => {
  it("reports by priority, and each source is ended by its own access", () => {
    const bench = new Bench().setUp();
    bench.write(FCR, 0x01);
    bench.uart.shiftIn(0x41, LSR_PE);
    bench.uart.setModemInputs(reg.MSR_CTS);
    bench.write(IER, 0x0f);
    expect(bench.identity).toBe(IIR_LINE_STATUS);
    expect(bench.identity).toBe(IIR_LINE_STATUS); // reading the IIR does not end it
    bench.read(LSR);
    expect(bench.identity).toBe(IIR_DATA_AVAILABLE);
    bench.read(RBR);
    expect(bench.identity).toBe(IIR_THR_EMPTY);
    expect(bench.identity).toBe(IIR_MODEM_STATUS); // reading the IIR ended the last
    bench.read(MSR);
    expect(bench.identity).toBe(IIR_NONE);
    expect(bench.interrupt).toBe(false);
  });

  describe("transmitter holding register empty", () => {
    it("is raised by enabling it while the THR is empty", () => {
      const bench = new Bench();
      bench.write(IER, reg.IER_ETBEI);
      expect(bench.interrupt).toBe(true);
    });

    it("is not raised by enabling it while the THR is full", () => {
      const bench = new Bench();
      bench.accept = 0;
      bench.write(THR, 1, 2);
      bench.write(IER, reg.IER_ETBEI);
      expect(bench.interrupt).toBe(false);
    });

    it("is ended by reading the IIR that reports it, and raised again by enabling it again", () => {
      const bench = new Bench();
      bench.write(IER, reg.IER_ETBEI);
      expect(bench.identity).toBe(IIR_THR_EMPTY);
      expect(bench.identity).toBe(IIR_NONE);
      bench.write(IER, reg.IER_ETBEI); // no change
      expect(bench.identity).toBe(IIR_NONE);
      bench.write(IER, 0x00);
      bench.write(IER, reg.IER_ETBEI);
      expect(bench.identity).toBe(IIR_THR_EMPTY);
    });

    it("is not ended by an IIR that reports something else", () => {
      const bench = new Bench();
      bench.write(IER, reg.IER_ETBEI | reg.IER_ERBFI);
      bench.receive(1);
      expect(bench.identity).toBe(IIR_DATA_AVAILABLE);
      bench.read(RBR);
      expect(bench.identity).toBe(IIR_THR_EMPTY);
    });

    it("is ended by writing the THR, and raised when that is empty again", () => {
      const bench = new Bench().setUp();
      bench.write(IER, reg.IER_ETBEI);
      bench.accept = 0;
      bench.write(THR, 1); // goes on to the shift register at once
      expect(bench.interrupt).toBe(true);
      bench.write(THR, 2);
      expect(bench.interrupt).toBe(false);
      bench.accept = 1;
      bench.uart.transmit();
      expect(bench.interrupt).toBe(true);
    });

    it("is raised by emptying the FIFO", () => {
      const bench = new Bench().setUp();
      bench.accept = 0;
      bench.write(THR, 1, 2, 3);
      bench.write(IER, reg.IER_ETBEI);
      expect(bench.interrupt).toBe(false);
      bench.write(FCR, 0xc0 | 0x04 | 0x01);
      expect(bench.interrupt).toBe(true);
    });
  });

  describe("character time-out (FIFO mode)", () => {
    it("comes when a character has waited for four character times below the trigger level", () => {
      const bench = new Bench().setUp();
      bench.write(IER, reg.IER_ERBFI);
      bench.receive(1);
      bench.clock.advance(3.9 * CHARACTER_TIME);
      expect(bench.interrupt).toBe(false);
      bench.clock.advance(0.2 * CHARACTER_TIME);
      expect(bench.interrupt).toBe(true);
      expect(bench.identity).toBe(IIR_TIME_OUT);
    });

    it.each([
      ["a new character", (bench: Bench) => void bench.receive(2)],
      ["reading one", (bench: Bench) => void bench.read(RBR)],
    ])("%s restarts the time, to the character", (_name, act) => {
      const bench = new Bench().setUp();
      bench.write(IER, reg.IER_ERBFI);
      bench.receive(0, 1);
      bench.clock.advance(3 * CHARACTER_TIME);
      act(bench);
      bench.clock.advance(3.9 * CHARACTER_TIME);
      expect(bench.identity).toBe(IIR_NONE);
      bench.clock.advance(1.2 * CHARACTER_TIME);
      expect(bench.identity).toBe(IIR_TIME_OUT);
    });

    it("is ended by reading a character, and comes again for the next", () => {
      const bench = new Bench().setUp();
      bench.write(IER, reg.IER_ERBFI);
      bench.receive(1, 2);
      bench.clock.advance(5 * CHARACTER_TIME);
      expect(bench.identity).toBe(IIR_TIME_OUT);
      expect(bench.identity).toBe(IIR_TIME_OUT);
      bench.read(RBR);
      expect(bench.interrupt).toBe(false);
      bench.clock.advance(5 * CHARACTER_TIME);
      expect(bench.identity).toBe(IIR_TIME_OUT);
      bench.read(RBR);
      bench.clock.advance(50 * CHARACTER_TIME);
      expect(bench.interrupt).toBe(false);
    });

    it("leaves no timer behind once the FIFO is empty", () => {
      const bench = new Bench().setUp();
      bench.receive(1);
      bench.read(RBR);
      bench.clock.advance(5 * CHARACTER_TIME);
      expect(bench.clock.armed).toBe(false);
    });

    it("gives way to received data at the trigger level", () => {
      const bench = new Bench().setUp();
      bench.write(IER, reg.IER_ERBFI);
      bench.receive(...range(15));
      bench.clock.advance(5 * CHARACTER_TIME);
      expect(bench.identity).toBe(IIR_DATA_AVAILABLE);
    });

    it("does not come in 16450 mode", () => {
      const bench = new Bench();
      bench.receive(1);
      expect(bench.clock.armed).toBe(false);
    });

    it.each([
      // divisor, LCR, bits of a character
      [1, 0x03, 10],
      [12, 0x03, 10],
      [12, 0x0b, 11],
      [12, 0x0f, 12],
      [12, 0x04, 7.5],
    ])("divisor %i, LCR %i: characters of %f bits", (divisor, lcr, bits) => {
      const bench = new Bench().setUp();
      bench.write(LCR, reg.LCR_DLAB);
      bench.write(DLL, divisor);
      bench.write(LCR, lcr);
      bench.write(IER, reg.IER_ERBFI);
      bench.receive(1);
      const time = (4 * bits * 1000 * divisor) / 115_200;
      bench.clock.advance(time * 0.99);
      expect(bench.interrupt).toBe(false);
      bench.clock.advance(time * 0.02);
      expect(bench.interrupt).toBe(true);
    });
  });
});

describe("modem control register", () => {
  it("bits 5 to 7 are always 0", () => {
    const bench = new Bench();
    bench.write(MCR, 0xff);
    expect(bench.read(MCR)).toBe(0x1f);
  });

  describe("bit 4, loopback", () => {
    it.each([
      ["RTS to CTS", reg.MCR_RTS, reg.MSR_CTS],
      ["DTR to DSR", reg.MCR_DTR, reg.MSR_DSR],
      ["OUT1 to RI", reg.MCR_OUT1, reg.MSR_RI],
      ["OUT2 to DCD", reg.MCR_OUT2, reg.MSR_DCD],
    ])("wires %s", (_name, output, input) => {
      const bench = new Bench();
      bench.uart.setModemInputs(0xf0);
      bench.write(MCR, reg.MCR_LOOP | output);
      expect(bench.read(MSR) & 0xf0).toBe(input);
      bench.write(MCR, 0);
      expect(bench.read(MSR) & 0xf0).toBe(0xf0);
    });

    it("what is transmitted is received, and not sent", () => {
      const bench = new Bench().setUp();
      bench.write(MCR, reg.MCR_LOOP);
      bench.write(THR, 1, 2, 3);
      expect(bench.sent).toEqual([]);
      expect(range(3).map(() => bench.read(RBR))).toEqual([1, 2, 3]);
    });

    it("overruns like a wire: a driver counts 16 characters that fit (Linux: size_fifo)", () => {
      const bench = new Bench().setUp();
      bench.write(MCR, reg.MCR_LOOP);
      bench.write(THR, ...range(256));
      let count = 0;
      while (bench.read(LSR) & LSR_DR) {
        bench.read(RBR);
        count++;
      }
      expect(count).toBe(16);
    });

    it("interrupts work as always", () => {
      const bench = new Bench().setUp();
      bench.write(FCR, 0x01);
      bench.write(IER, reg.IER_EDSSI | reg.IER_ERBFI);
      bench.write(MCR, reg.MCR_LOOP | reg.MCR_RTS);
      expect(bench.identity).toBe(IIR_MODEM_STATUS);
      bench.write(THR, 1);
      expect(bench.identity).toBe(IIR_DATA_AVAILABLE);
    });

    it("SIN and the modem inputs are disconnected: the far end waits until it is over", () => {
      const bench = new Bench().setUp();
      bench.write(MCR, reg.MCR_LOOP);
      expect(bench.receive(1)).toBe(0);
      bench.uart.setModemInputs(reg.MSR_CTS);
      expect(bench.read(MSR)).toBe(0);
      expect(bench.readyCalls).toBe(0);
      bench.write(MCR, 0);
      expect(bench.readyCalls).toBe(1);
      expect(bench.read(MSR)).toBe(reg.MSR_CTS | reg.MSR_DCTS);
    });

    it("SOUT is at marking: a break is not seen", () => {
      const bench = new Bench();
      bench.write(LCR, 0x43);
      bench.write(MCR, reg.MCR_LOOP);
      expect(bench.breaks).toEqual([true, false]);
    });
  });
});

describe("modem status register", () => {
  it.each([
    ["bit 0, delta CTS", reg.MSR_CTS, reg.MSR_DCTS],
    ["bit 1, delta DSR", reg.MSR_DSR, reg.MSR_DDSR],
    ["bit 3, delta DCD", reg.MSR_DCD, reg.MSR_DDCD],
  ])("%s: set by a change in either direction, cleared by reading the MSR", (_name, input, delta) => {
    const bench = new Bench();
    bench.uart.setModemInputs(input);
    expect(bench.read(MSR)).toBe(input | delta);
    expect(bench.read(MSR)).toBe(input);
    bench.uart.setModemInputs(0);
    expect(bench.read(MSR)).toBe(delta);
  });

  it("bit 2, TERI: set when RI goes off, not when it goes on", () => {
    const bench = new Bench();
    bench.uart.setModemInputs(reg.MSR_RI);
    expect(bench.read(MSR)).toBe(reg.MSR_RI);
    bench.uart.setModemInputs(0);
    expect(bench.read(MSR)).toBe(reg.MSR_TERI);
  });

  it("a delta raises the modem status interrupt until the MSR is read", () => {
    const bench = new Bench();
    bench.write(IER, reg.IER_EDSSI);
    bench.uart.setModemInputs(reg.MSR_DCD);
    expect(bench.interrupt).toBe(true);
    bench.read(MSR);
    expect(bench.interrupt).toBe(false);
  });
});

describe("scratchpad register", () => {
  it("holds a byte and does nothing else", () => {
    const bench = new Bench();
    bench.write(SCR, 0xa5);
    expect(bench.read(SCR)).toBe(0xa5);
    bench.write(LCR, reg.LCR_DLAB);
    expect(bench.read(SCR)).toBe(0xa5);
  });
});
