import { array, bool, u8 } from "@vfiokit/core";
import type { Clock, Timer } from "../clock/index.js";
import { Fifo } from "./fifo.js";
import { LSR_CHARACTER_ERRORS, LSR_OE } from "./registers.js";

/**
 * The UART's receiver: the RBR or its FIFO, the errors of each character, and the character time-out.
 * PC16550D data sheet, 8.4 "Line Status Register" and 8.11 "FIFO interrupt mode operation".
 */
export class Receiver {
  /** A character in the low byte; above it the errors it came with, in the bits of the LSR. */
  readonly fifo = new Fifo();
  /** OE, PE, FE and BI as revealed since the LSR was last read. */
  lineErrors = 0;
  /** Characters in the FIFO at which the received-data interrupt comes. */
  triggerLevel = 1;
  /** FIFO mode: characters waited for four character times. */
  timeOutPending = false;
  /** FIFO mode: four times what a character takes on the wire, in milliseconds; 0 in 16450 mode. */
  timeOut = 0;

  /** Characters with errors that have not reached the top of the FIFO. */
  private hiddenErrors = 0;
  private readonly timer: Timer;
  private timerRunning = false;
  /** Ticks since a character came or was read; -1 in the tick that began before it. */
  private idleTicks = 0;

  constructor(
    clock: Clock,
    private readonly timedOut: () => void,
  ) {
    this.timer = clock.timer(() => this.tick());
  }

  /** Bit 7 of the LSR, in FIFO mode: a character with an error is in the FIFO. */
  get holdsErrors(): boolean {
    return this.hiddenErrors !== 0 || (this.lineErrors & LSR_CHARACTER_ERRORS) !== 0;
  }

  /** A character has arrived. Nobody waits for room: without any it is an overrun. */
  push(character: number, errors: number, fifoMode: boolean): void {
    if (this.fifo.full) {
      // FIFO mode: the new character is lost. 16450 mode: it replaces the one in the RBR.
      this.lineErrors |= LSR_OE;
      if (fifoMode) return;
      this.fifo.clear();
    }
    this.fifo.push(character | (errors << 8));
    if (errors !== 0) this.hiddenErrors++;
    if (this.fifo.count === 1) this.revealTop();
    this.noteActivity();
  }

  /** Software reads a character: 0 if there is none. */
  take(): number {
    if (this.fifo.count === 0) return 0;
    const character = this.fifo.shift() & 0xff;
    this.timeOutPending = false;
    this.revealTop();
    this.noteActivity();
    return character;
  }

  /** Forgets the characters and their errors. An overrun stays on record. */
  clear(): void {
    this.fifo.clear();
    this.hiddenErrors = 0;
    this.lineErrors &= LSR_OE;
    this.timeOutPending = false;
  }

  /** Errors show in the LSR when their character reaches the top of the FIFO. */
  private revealTop(): void {
    if (this.hiddenErrors === 0 || this.fifo.count === 0) return;
    const top = this.fifo.top;
    if (top <= 0xff) return;
    this.lineErrors |= top >> 8;
    this.hiddenErrors--;
    this.fifo.top = top & 0xff;
  }

  /**
   * Restarts the time-out. It only notes that, and a timer that ticks once a character time counts the ticks
   * without activity, as the chip's counter does: to look at a clock or to start a timer for every character
   * would cost more than the character. So the time-out comes within four to five character times, or eight
   * where four are shorter than a timer can be.
   */
  noteActivity(): void {
    if (this.timeOut === 0 || this.fifo.count === 0) return;
    this.idleTicks = this.timerRunning ? -1 : 0;
    if (!this.timerRunning) this.startTick();
  }

  private tick(): void {
    this.timerRunning = false;
    if (this.timeOut === 0 || this.fifo.count === 0 || this.timeOutPending) return;
    this.idleTicks++;
    if (this.idleTicks < this.ticksToTimeOut) {
      this.startTick();
    } else {
      this.timeOutPending = true;
      this.timedOut();
    }
  }

  /** Timers count milliseconds: a shorter time-out is one tick. */
  private get ticksToTimeOut(): number {
    return this.timeOut < 1 ? 1 : 4;
  }

  private startTick(): void {
    this.timerRunning = true;
    this.timer.start(this.timeOut / this.ticksToTimeOut);
  }

  stopTimer(): void {
    this.timerRunning = false;
    this.timer.stop();
  }

  /** What migrates. */
  readonly fields = {
    lineErrors: u8(
      () => this.lineErrors,
      (errors) => (this.lineErrors = errors),
      { valid: (errors) => (errors & ~(LSR_OE | LSR_CHARACTER_ERRORS)) === 0 },
    ),
    receiver: array(
      "u16",
      { max: Fifo.DEPTH },
      () => this.fifo.toArray(),
      (entries) => this.load(entries),
      { valid: (entries) => entries.every((entry) => ((entry >> 8) & ~LSR_CHARACTER_ERRORS) === 0) },
    ),
    timeOutPending: bool(
      () => this.timeOutPending,
      (pending) => (this.timeOutPending = pending),
    ),
  };

  private load(entries: readonly number[]): void {
    this.fifo.load(entries);
    this.hiddenErrors = entries.filter((entry) => entry > 0xff).length;
  }
}
