import { array, bool, section, u16, u8, type Section } from "@vfiokit/core";
import type { Clock, Timer } from "../clock/index.js";
import { Fifo } from "./fifo.js";
import { Receiver } from "./receiver.js";
import * as reg from "./registers.js";

/** What the chip's pins are wired to. */
export interface UartPins {
  /** INTR. Called when the level changes. */
  interrupt(asserted: boolean): void;
  /** SOUT, a character at a time. False: not taken, and `transmit()` is to be called once there is room. */
  send(character: number): boolean;
  /** SOUT held at spacing (LCR bit 6), or released. */
  sendBreak(on: boolean): void;
  /** Room again, after `receive` took less than it was offered. */
  receiverReady(): void;
}

/** Characters in the receiver FIFO at which the received-data interrupt comes: FCR bits 6 and 7. */
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
/** The data sheet gives the divisor latch no power-on value: 9600 baud, as PC firmware leaves it. */
const DEFAULT_DIVISOR = 12;
const EMPTY = -1;

/**
 * National Semiconductor 16550A: the chip alone, with its pins as callbacks.
 *
 * Reference: PC16550D data sheet, section 8 "Registers". Two things differ, so that no character is lost:
 * characters take no time on the wire, so the transmitter is as fast as the far end (the baud rate only decides
 * how long a character time-out is); and the far end waits where the chip would overrun, and while RTS is off,
 * once the software has used RTS.
 */
export class Uart16550 {
  private ier = 0;
  private fcr = 0;
  private lcr = 0;
  private mcr = 0;
  private scr = 0;
  private divisor = DEFAULT_DIVISOR;
  /** MSR bits 0 to 3. */
  private modemDeltas = 0;
  /** CTS, DSR, RI and DCD at the pins, in the bits of the MSR. */
  private modemPins = 0;

  private readonly receiver: Receiver;
  private readonly transmitter = new Fifo();
  private shiftRegister = EMPTY;

  private thrEmptyPending = false;
  private interruptAsserted = false;

  /** RTS has been on since the last reset: the far end honours it from then on. */
  private usesRts = false;
  private running = true;
  /** The far end offered more than there was room for, and waits to be called. */
  private farEndWaits = false;
  private readonly resumeTimer: Timer;

  constructor(
    private readonly pins: UartPins,
    clock: Clock,
  ) {
    this.receiver = new Receiver(clock, () => this.updateInterrupt());
    this.resumeTimer = clock.timer(() => this.callFarEnd());
  }

  /** Master reset (pin MR): the data sheet's table "UART Reset Configuration". */
  reset(): void {
    this.ier = 0;
    this.scr = 0;
    this.divisor = DEFAULT_DIVISOR;
    this.writeLcr(0);
    this.setFcr(0);
    this.receiver.clear();
    this.receiver.lineErrors = 0;
    this.transmitter.clear();
    this.shiftRegister = EMPTY;
    this.thrEmptyPending = false;
    this.setMcr(0);
    this.usesRts = false;
    this.modemDeltas = 0;
    this.updateInterrupt();
    // What the far end holds back arrives a character time later: software sees the chip empty first.
    if (this.farEndWaits && this.running) this.resumeTimer.start(this.characterTime);
  }

  readRegister(offset: number): number {
    switch (offset) {
      case reg.RBR:
        return this.lcr & reg.LCR_DLAB ? this.divisor & 0xff : this.readRbr();
      case reg.IER:
        return this.lcr & reg.LCR_DLAB ? this.divisor >> 8 : this.ier;
      case reg.IIR:
        return this.readIir();
      case reg.LCR:
        return this.lcr;
      case reg.MCR:
        return this.mcr;
      case reg.LSR:
        return this.readLsr();
      case reg.MSR:
        return this.readMsr();
      case reg.SCR:
        return this.scr;
      default:
        return 0xff;
    }
  }

  writeRegister(offset: number, value: number): void {
    switch (offset) {
      case reg.THR:
        if (this.lcr & reg.LCR_DLAB) this.setDivisor((this.divisor & 0xff00) | value);
        else this.writeThr(value);
        break;
      case reg.IER:
        if (this.lcr & reg.LCR_DLAB) this.setDivisor((this.divisor & 0x00ff) | (value << 8));
        else this.writeIer(value & reg.IER_BITS);
        break;
      case reg.FCR:
        this.writeFcr(value);
        break;
      case reg.LCR:
        this.writeLcr(value);
        break;
      case reg.MCR:
        this.writeMcr(value & reg.MCR_BITS);
        break;
      case reg.SCR:
        this.scr = value;
        break;
      default: // LSR and MSR: written in the factory only
        break;
    }
  }

  private readRbr(): number {
    const character = this.receiver.take();
    this.callFarEnd();
    this.updateInterrupt();
    return character;
  }

  /** Reading the IIR ends the THR-empty interrupt, if that is what it reports. */
  private readIir(): number {
    const identity = this.interruptIdentity();
    if (identity === reg.IIR_THR_EMPTY) {
      this.thrEmptyPending = false;
      this.updateInterrupt();
    }
    return identity | (this.fifoMode ? reg.IIR_FIFOS : 0);
  }

  /** Reading the LSR clears OE, PE, FE and BI; bit 7 stays while errors wait further down in the FIFO. */
  private readLsr(): number {
    const { receiver } = this;
    let status = receiver.lineErrors;
    if (receiver.fifo.count !== 0) status |= reg.LSR_DR;
    if (this.transmitter.count === 0) {
      status |= reg.LSR_THRE;
      if (this.shiftRegister === EMPTY) status |= reg.LSR_TEMT;
    }
    if (this.fifoMode && receiver.holdsErrors) status |= reg.LSR_FIFO_ERROR;
    if (receiver.lineErrors !== 0) {
      receiver.lineErrors = 0;
      this.updateInterrupt();
    }
    return status;
  }

  /** Reading the MSR clears the deltas. */
  private readMsr(): number {
    const status = this.modemStatus | this.modemDeltas;
    if (this.modemDeltas !== 0) {
      this.modemDeltas = 0;
      this.updateInterrupt();
    }
    return status;
  }

  private writeThr(character: number): void {
    // 16450 mode: a character that has not left the THR is overwritten. A full FIFO keeps what it has.
    if (!this.fifoMode) this.transmitter.clear();
    if (!this.transmitter.full) this.transmitter.push(character);
    this.thrEmptyPending = false;
    this.transmit();
    this.updateInterrupt();
  }

  private writeIer(value: number): void {
    // Enabling the THR-empty interrupt while the THR is empty raises it at once, also after the IIR was read:
    // it starts every transmission of the drivers of Linux and Windows.
    if (value & ~this.ier & reg.IER_ETBEI && this.transmitter.count === 0) this.thrEmptyPending = true;
    this.ier = value;
    this.updateInterrupt();
  }

  private writeFcr(value: number): void {
    // FCR bit 0 must be 1 when other bits are written, or they are not programmed.
    const fcr = value & reg.FCR_FIFO_ENABLE ? value : 0;
    const modeChanges = ((fcr ^ this.fcr) & reg.FCR_FIFO_ENABLE) !== 0;
    if (modeChanges || fcr & reg.FCR_CLEAR_RECEIVER) this.receiver.clear();
    if ((modeChanges || fcr & reg.FCR_CLEAR_TRANSMITTER) && this.transmitter.count !== 0) {
      this.transmitter.clear(); // the shift register is not cleared
      this.thrEmptyPending = true;
    }
    if (modeChanges) this.setFcr(fcr & reg.FCR_STORED);
    else this.fcr = fcr & reg.FCR_STORED;
    this.callFarEnd();
    this.updateInterrupt();
  }

  /** Both FIFOs are empty afterwards. */
  private setFcr(fcr: number): void {
    this.fcr = fcr;
    this.receiver.fifo.setFifoMode(this.fifoMode);
    this.transmitter.setFifoMode(this.fifoMode);
    this.updateTimeOut();
  }

  private setDivisor(divisor: number): void {
    this.divisor = divisor;
    this.updateTimeOut();
  }

  private writeLcr(value: number): void {
    const wasBreaking = this.breaking;
    this.lcr = value;
    this.updateTimeOut();
    if (this.breaking !== wasBreaking) this.pins.sendBreak(this.breaking);
  }

  private writeMcr(value: number): void {
    this.setMcr(value);
    this.callFarEnd();
    this.updateInterrupt();
  }

  private setMcr(value: number): void {
    const status = this.modemStatus;
    const wasBreaking = this.breaking;
    this.mcr = value;
    this.noteModemChange(status);
    if (this.modemOutputs & reg.MCR_RTS) this.usesRts = true;
    if (this.breaking !== wasBreaking) this.pins.sendBreak(this.breaking);
  }

  /** Sends what there is, until the far end takes no more. */
  transmit(): void {
    while (this.running) {
      if (this.shiftRegister === EMPTY) {
        if (this.transmitter.count === 0) return;
        this.shiftRegister = this.transmitter.shift();
        if (this.transmitter.count === 0) {
          this.thrEmptyPending = true;
          this.updateInterrupt();
        }
      }
      if (!this.sendCharacter(this.shiftRegister & this.wordMask)) return;
      this.shiftRegister = EMPTY;
    }
  }

  private sendCharacter(character: number): boolean {
    if (this.loopback) {
      this.shiftIn(character, 0);
      return true;
    }
    // The line is at spacing during a break: nothing of a character shows at the far end.
    return this.breaking || this.pins.send(character);
  }

  /**
   * Characters from the far end: `bytes[from]` to `bytes[to - 1]`. Takes as many as there is room for and
   * returns how many; if not all, `pins.receiverReady` is called once there is room.
   */
  receive(bytes: Uint8Array, from = 0, to = bytes.length): number {
    let next = from;
    if (this.receiving) {
      while (next < to && !this.receiver.fifo.full) this.shiftIn(bytes[next++]! & this.wordMask, 0);
    }
    if (next < to) this.farEndWaits = true;
    return next - from;
  }

  /** A break at SIN: one zero character, whose missing stop bit is a framing error too. */
  receiveBreak(): void {
    if (this.receiving) this.shiftIn(0, reg.LSR_BI | reg.LSR_FE);
  }

  /**
   * A character completes in the receiver's shift register, as on a real wire: an overrun if there is no room.
   * `errors` are PE, FE and BI in the bits of the LSR.
   */
  shiftIn(character: number, errors: number): void {
    this.receiver.push(character, errors, this.fifoMode);
    this.updateInterrupt();
  }

  /** Tells a far end that waits that there is room. It may call `receive` before this returns. */
  private callFarEnd(): void {
    if (!this.farEndWaits || !this.receiving || this.receiver.fifo.full) return;
    this.farEndWaits = false;
    this.pins.receiverReady();
  }

  /** Loopback disconnects SIN: the far end waits then too. */
  private get receiving(): boolean {
    if (!this.running || this.loopback) return false;
    return !this.usesRts || (this.mcr & reg.MCR_RTS) !== 0;
  }

  /** CTS, DSR, RI and DCD as they are at the pins, in the bits of the MSR. */
  setModemInputs(inputs: number): void {
    const before = this.modemStatus;
    this.modemPins = inputs & reg.MSR_INPUTS;
    this.noteModemChange(before);
    this.updateInterrupt();
  }

  /** DTR, RTS, OUT1 and OUT2 at the pins: off in loopback. */
  get modemOutputs(): number {
    return this.loopback ? 0 : this.mcr & reg.MCR_OUTPUTS;
  }

  /** MSR bits 4 to 7. Loopback wires the four outputs to the four inputs. */
  private get modemStatus(): number {
    if (!this.loopback) return this.modemPins;
    return (
      (this.mcr & reg.MCR_RTS ? reg.MSR_CTS : 0) |
      (this.mcr & reg.MCR_DTR ? reg.MSR_DSR : 0) |
      (this.mcr & reg.MCR_OUT1 ? reg.MSR_RI : 0) |
      (this.mcr & reg.MCR_OUT2 ? reg.MSR_DCD : 0)
    );
  }

  private noteModemChange(before: number): void {
    const changed = before ^ this.modemStatus;
    if (changed & reg.MSR_CTS) this.modemDeltas |= reg.MSR_DCTS;
    if (changed & reg.MSR_DSR) this.modemDeltas |= reg.MSR_DDSR;
    if (changed & before & reg.MSR_RI) this.modemDeltas |= reg.MSR_TERI;
    if (changed & reg.MSR_DCD) this.modemDeltas |= reg.MSR_DDCD;
  }

  /** The highest-priority interrupt that is pending and enabled: IIR bits 0 to 3. */
  private interruptIdentity(): number {
    const { ier, receiver } = this;
    if (ier & reg.IER_ELSI && receiver.lineErrors !== 0) return reg.IIR_LINE_STATUS;
    if (ier & reg.IER_ERBFI) {
      if (receiver.fifo.count >= this.triggerLevel) return reg.IIR_DATA_AVAILABLE;
      if (receiver.timeOutPending) return reg.IIR_TIME_OUT;
    }
    if (ier & reg.IER_ETBEI && this.thrEmptyPending) return reg.IIR_THR_EMPTY;
    if (ier & reg.IER_EDSSI && this.modemDeltas !== 0) return reg.IIR_MODEM_STATUS;
    return reg.IIR_NONE;
  }

  private updateInterrupt(): void {
    const asserted = this.interruptIdentity() !== reg.IIR_NONE;
    if (asserted === this.interruptAsserted) return;
    this.interruptAsserted = asserted;
    this.pins.interrupt(asserted);
  }

  /** Holds the transmitter, the receiver and the time-out. Registers still answer. */
  stop(): void {
    this.running = false;
    this.receiver.stopTimer();
    this.resumeTimer.stop();
  }

  /** Goes on: after `stop`, or after a state was loaded. */
  run(): void {
    this.running = true;
    this.transmit();
    this.callFarEnd();
    this.receiver.noteActivity();
    this.updateInterrupt();
  }

  private get loopback(): boolean {
    return (this.mcr & reg.MCR_LOOP) !== 0;
  }

  /** LCR bit 6 acts on SOUT, which loopback holds at marking. */
  private get breaking(): boolean {
    return (this.lcr & reg.LCR_BREAK) !== 0 && !this.loopback;
  }

  private get fifoMode(): boolean {
    return (this.fcr & reg.FCR_FIFO_ENABLE) !== 0;
  }

  private get triggerLevel(): number {
    return this.fifoMode ? TRIGGER_LEVELS[this.fcr >> 6]! : 1;
  }

  /** LCR bits 0 and 1: characters have 5 to 8 bits, right-justified. */
  private get wordMask(): number {
    return (0x20 << (this.lcr & reg.LCR_WORD_LENGTH)) - 1;
  }

  /** Milliseconds that a character takes on the wire: start bit, word, parity, stop bits. */
  private get characterTime(): number {
    const wordLength = 5 + (this.lcr & reg.LCR_WORD_LENGTH);
    const parity = this.lcr & reg.LCR_PARITY ? 1 : 0;
    const stop = this.lcr & reg.LCR_STOP_BITS ? (wordLength === 5 ? 1.5 : 2) : 1;
    // A divisor of 0 stops the chip's baud generator; here it counts as the slowest.
    const bitTime = ((this.divisor === 0 ? 0x10000 : this.divisor) * 16 * 1000) / reg.CLOCK_HZ;
    return (1 + wordLength + parity + stop) * bitTime;
  }

  private updateTimeOut(): void {
    this.receiver.timeOut = this.fifoMode ? 4 * this.characterTime : 0;
  }

  /** What migrates: everything but the pins and the far end, which are those of the new place. */
  readonly state: Section = section(
    {
      // The FCR first: it sets the mode of the FIFOs and empties them.
      fcr: u8(
        () => this.fcr,
        (fcr) => this.setFcr(fcr),
        { valid: (fcr) => fcr === 0 || (fcr & ~reg.FCR_STORED) === 0 },
      ),
      ier: u8(
        () => this.ier,
        (ier) => (this.ier = ier),
        { valid: (ier) => (ier & ~reg.IER_BITS) === 0 },
      ),
      lcr: u8(
        () => this.lcr,
        (lcr) => this.writeLcr(lcr),
      ),
      mcr: u8(
        () => this.mcr,
        (mcr) => this.setMcr(mcr),
        { valid: (mcr) => (mcr & ~reg.MCR_BITS) === 0 },
      ),
      usesRts: bool(
        () => this.usesRts,
        (usesRts) => (this.usesRts = usesRts),
      ),
      scr: u8(
        () => this.scr,
        (scr) => (this.scr = scr),
      ),
      divisor: u16(
        () => this.divisor,
        (divisor) => this.setDivisor(divisor),
      ),
      modemDeltas: u8(
        () => this.modemDeltas,
        (deltas) => (this.modemDeltas = deltas),
        { valid: (deltas) => (deltas & reg.MSR_INPUTS) === 0 },
      ),
      lineErrors: u8(
        () => this.receiver.lineErrors,
        (errors) => (this.receiver.lineErrors = errors),
        { valid: (errors) => (errors & ~(reg.LSR_OE | reg.LSR_CHARACTER_ERRORS)) === 0 },
      ),
      receiver: array(
        "u16",
        { max: Fifo.DEPTH },
        () => this.receiver.fifo.toArray(),
        (entries) => this.receiver.load(entries),
        { valid: (entries) => entries.every((entry) => ((entry >> 8) & ~reg.LSR_CHARACTER_ERRORS) === 0) },
      ),
      timeOutPending: bool(
        () => this.receiver.timeOutPending,
        (pending) => (this.receiver.timeOutPending = pending),
      ),
      transmitter: array(
        "u8",
        { max: Fifo.DEPTH },
        () => this.transmitter.toArray(),
        (characters) => this.transmitter.load(characters),
      ),
      shiftRegister: array(
        "u8",
        { max: 1 },
        () => (this.shiftRegister === EMPTY ? [] : [this.shiftRegister]),
        ([character]) => (this.shiftRegister = character ?? EMPTY),
      ),
      thrEmptyPending: bool(
        () => this.thrEmptyPending,
        (pending) => (this.thrEmptyPending = pending),
      ),
    },
    {
      validate({ fcr, receiver, transmitter }) {
        const depth = fcr & reg.FCR_FIFO_ENABLE ? Fifo.DEPTH : 1;
        const held = Math.max(receiver.length, transmitter.length);
        return held > depth ? `${held} characters where FCR ${fcr} leaves room for ${depth}` : undefined;
      },
    },
  );
}
