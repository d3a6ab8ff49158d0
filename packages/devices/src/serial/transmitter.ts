import { array, bool } from "@vfiokit/core";
import { Fifo } from "./fifo.js";
import * as reg from "./registers.js";

const EMPTY = -1;

/**
 * The UART's transmitter: the THR or its FIFO, the shift register behind it, and the interrupt that asks for more.
 * PC16550D data sheet, 8.4 "Line Status Register", bits 5 and 6.
 */
export class Transmitter {
  /** The THR-empty interrupt: since the THR became empty it was neither written nor seen in the IIR. */
  emptyPending = false;
  private readonly fifo = new Fifo();
  private shiftRegister = EMPTY;

  /** Nothing is in the THR; the shift register may hold a character. */
  get empty(): boolean {
    return this.fifo.count === 0;
  }

  /** THRE and TEMT, in the bits of the LSR. */
  get status(): number {
    if (!this.empty) return 0;
    return this.shiftRegister === EMPTY ? reg.LSR_THRE | reg.LSR_TEMT : reg.LSR_THRE;
  }

  reset(): void {
    this.fifo.clear();
    this.shiftRegister = EMPTY;
    this.emptyPending = false;
  }

  /** Empties the FIFO. */
  setFifoMode(on: boolean): void {
    this.fifo.setFifoMode(on);
  }

  /** FCR bit 2. The shift register is not cleared. */
  clear(): void {
    if (this.empty) return;
    this.fifo.clear();
    this.emptyPending = true;
  }

  /** 16450 mode: a character that has not left the THR is overwritten. A full FIFO keeps what it has. */
  write(character: number, fifoMode: boolean): void {
    if (!fifoMode) this.fifo.clear();
    if (!this.fifo.full) this.fifo.push(character);
    this.emptyPending = false;
  }

  /** The character in the shift register, which the next one of the THR enters if it is empty; -1: there is none. */
  next(): number {
    if (this.shiftRegister === EMPTY && this.fifo.count > 0) {
      this.shiftRegister = this.fifo.shift();
      if (this.fifo.count === 0) this.emptyPending = true;
    }
    return this.shiftRegister;
  }

  /** The character in the shift register has left. */
  sent(): void {
    this.shiftRegister = EMPTY;
  }

  /** What migrates. */
  readonly fields = {
    transmitter: array(
      "u8",
      { max: Fifo.DEPTH },
      () => this.fifo.toArray(),
      (characters) => this.fifo.load(characters),
    ),
    shiftRegister: array(
      "u8",
      { max: 1 },
      () => (this.shiftRegister === EMPTY ? [] : [this.shiftRegister]),
      ([character]) => (this.shiftRegister = character ?? EMPTY),
    ),
    thrEmptyPending: bool(
      () => this.emptyPending,
      (pending) => (this.emptyPending = pending),
    ),
  };
}
