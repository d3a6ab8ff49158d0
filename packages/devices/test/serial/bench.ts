import { Uart16550, uartRegisters, type Clock } from "@vfiokit/devices";

/** Time that a test moves by hand. */
export class ManualClock implements Clock {
  private time = 0;
  private readonly due = new Map<() => void, number>();

  timer(expired: () => void) {
    return {
      start: (milliseconds: number) => void this.due.set(expired, this.time + milliseconds),
      stop: () => void this.due.delete(expired),
    };
  }

  advance(milliseconds: number): void {
    const end = this.time + milliseconds;
    for (;;) {
      const next = [...this.due].sort(([, a], [, b]) => a - b)[0];
      if (next === undefined || next[1] > end) break;
      this.due.delete(next[0]);
      this.time = next[1];
      next[0]();
    }
    this.time = end;
  }

  /** Has the next timer expire, and that one only. @returns false: there is none */
  step(): boolean {
    const next = [...this.due].sort(([, a], [, b]) => a - b)[0];
    if (next === undefined) return false;
    this.due.delete(next[0]);
    this.time = Math.max(this.time, next[1]);
    next[0]();
    return true;
  }

  get armed(): boolean {
    return this.due.size > 0;
  }
}

/** A chip on a bench: what it sends is recorded, and it sends only while `accept` allows. */
export class Bench {
  readonly clock = new ManualClock();
  readonly sent: number[] = [];
  readonly breaks: boolean[] = [];
  /** Characters that the far end still has room for. */
  accept = Infinity;
  interrupt = false;
  interruptEdges = 0;
  readyCalls = 0;
  onReady: () => void = () => undefined;

  readonly uart = new Uart16550(
    {
      interrupt: (asserted) => {
        this.interrupt = asserted;
        this.interruptEdges++;
      },
      send: (character) => {
        if (this.accept <= 0) return false;
        this.accept--;
        this.sent.push(character);
        return true;
      },
      sendBreak: (on) => this.breaks.push(on),
      receiverReady: () => {
        this.readyCalls++;
        this.onReady();
      },
    },
    this.clock,
  );

  read(register: number): number {
    return this.uart.readRegister(register);
  }

  write(register: number, ...values: number[]): void {
    for (const value of values) this.uart.writeRegister(register, value);
  }

  /** IIR bits 0 to 3. */
  get identity(): number {
    return this.read(uartRegisters.IIR) & 0x0f;
  }

  receive(...characters: number[]): number {
    return this.uart.receive(Uint8Array.from(characters));
  }

  /** 8 bits, no parity, one stop bit; both FIFOs on, trigger level 14; 9600 baud. */
  setUp(): this {
    this.write(uartRegisters.LCR, uartRegisters.LCR_DLAB);
    this.write(uartRegisters.DLL, 12);
    this.write(uartRegisters.DLM, 0);
    this.write(uartRegisters.LCR, 0x03);
    this.write(uartRegisters.FCR, uartRegisters.FCR_FIFO_ENABLE | 0xc0);
    return this;
  }
}

/** 10 bits at 9600 baud, in milliseconds. */
export const CHARACTER_TIME = 10_000 / 9600;
