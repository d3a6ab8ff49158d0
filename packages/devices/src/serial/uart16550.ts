// Over 300 lines: one chip. What its registers do, and what the far end may do, depend on each other; the parts that
// stand alone have files of their own.

import { bool, section, u16, u8, type Section } from "@vfiokit/core";
import type { Clock, Timer } from "../clock/index.js";
import { Fifo } from "./fifo.js";
import { Interrupts } from "./interrupts.js";
import { Line } from "./line.js";
import { Modem } from "./modem.js";
import { Receiver } from "./receiver.js";
import * as reg from "./registers.js";
import { Transmitter } from "./transmitter.js";

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

/**
 * National Semiconductor 16550A: the chip alone, with its pins as callbacks.
 *
 * Reference: PC16550D data sheet, section 8 "Registers". Two things differ, so that no character is lost:
 * characters take no time on the wire, so the transmitter is as fast as the far end (the baud rate only decides
 * how long a character time-out is); and the far end waits where the chip would overrun, and while RTS is off,
 * once the software has used RTS.
 */
export class Uart16550 {
  private fcr = 0;
  private scr = 0;
  private readonly line = new Line();
  private readonly modem = new Modem();
  private readonly receiver: Receiver;
  private readonly transmitter = new Transmitter();
  private readonly interrupts: Interrupts;

  /** RTS has been on since the last reset: the far end honours it from then on. */
  private usesRts = false;
  private running = true;
  /** The far end offered more than there was room for, and waits to be called. */
  private farEndWaits = false;
  private readonly resumeTimer: Timer;
  /** What migrates: everything but the pins and the far end, which are those of the new place. */
  readonly state: Section;

  constructor(
    private readonly pins: UartPins,
    clock: Clock,
  ) {
    const { modem, transmitter } = this;
    this.receiver = new Receiver(clock, () => this.interrupts.update());
    this.interrupts = new Interrupts(this.receiver, transmitter, modem, (asserted) =>
      pins.interrupt(asserted),
    );
    this.state = this.declareState();
    this.resumeTimer = clock.timer(() => this.callFarEnd());
  }

  /** Master reset (pin MR): the data sheet's table "UART Reset Configuration". */
  reset(): void {
    this.interrupts.enabled = 0;
    this.scr = 0;
    const wasBreaking = this.breaking;
    this.line.reset();
    if (wasBreaking) this.pins.sendBreak(false);
    this.setFcr(0);
    this.receiver.clear();
    this.receiver.lineErrors = 0;
    this.transmitter.reset();
    this.setMcr(0);
    this.usesRts = false;
    this.modem.deltas = 0;
    this.interrupts.update();
    // What the far end holds back arrives a character time later: software sees the chip empty first.
    if (this.farEndWaits && this.running) this.resumeTimer.start(this.line.characterTime);
  }

  readRegister(offset: number): number {
    switch (offset) {
      case reg.RBR:
        return this.line.divisorLatchAccess ? this.line.divisor & 0xff : this.readRbr();
      case reg.IER:
        return this.line.divisorLatchAccess ? this.line.divisor >> 8 : this.interrupts.enabled;
      case reg.IIR:
        return this.readIir();
      case reg.LCR:
        return this.line.control;
      case reg.MCR:
        return this.modem.control;
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
        if (this.line.divisorLatchAccess) this.setDivisor((this.line.divisor & 0xff00) | value);
        else this.writeThr(value);
        break;
      case reg.IER:
        if (this.line.divisorLatchAccess) this.setDivisor((this.line.divisor & 0x00ff) | (value << 8));
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
    this.interrupts.update();
    return character;
  }

  /** Reading the IIR ends the THR-empty interrupt, if that is what it reports. */
  private readIir(): number {
    const { identity } = this.interrupts;
    if (identity === reg.IIR_THR_EMPTY) {
      this.transmitter.emptyPending = false;
      this.interrupts.update();
    }
    return identity | (this.fifoMode ? reg.IIR_FIFOS : 0);
  }

  /** Reading the LSR clears OE, PE, FE and BI; bit 7 stays while errors wait further down in the FIFO. */
  private readLsr(): number {
    const { receiver } = this;
    let status = receiver.lineErrors | this.transmitter.status;
    if (receiver.fifo.count !== 0) status |= reg.LSR_DR;
    if (this.fifoMode && receiver.holdsErrors) status |= reg.LSR_FIFO_ERROR;
    if (receiver.lineErrors !== 0) {
      receiver.lineErrors = 0;
      this.interrupts.update();
    }
    return status;
  }

  /** Reading the MSR clears the deltas. */
  private readMsr(): number {
    const { modem } = this;
    const status = modem.status | modem.deltas;
    if (modem.deltas !== 0) {
      modem.deltas = 0;
      this.interrupts.update();
    }
    return status;
  }

  private writeThr(character: number): void {
    this.transmitter.write(character, this.fifoMode);
    this.transmit();
    this.interrupts.update();
  }

  private writeIer(value: number): void {
    // Enabling the THR-empty interrupt while the THR is empty raises it at once, also after the IIR was read:
    // it starts every transmission of the drivers of Linux and Windows.
    if (value & ~this.interrupts.enabled & reg.IER_ETBEI && this.transmitter.empty)
      this.transmitter.emptyPending = true;
    this.interrupts.enabled = value;
    this.interrupts.update();
  }

  private writeFcr(value: number): void {
    // FCR bit 0 must be 1 when other bits are written, or they are not programmed.
    const fcr = value & reg.FCR_FIFO_ENABLE ? value : 0;
    const modeChanges = ((fcr ^ this.fcr) & reg.FCR_FIFO_ENABLE) !== 0;
    if (modeChanges || fcr & reg.FCR_CLEAR_RECEIVER) this.receiver.clear();
    if (modeChanges || fcr & reg.FCR_CLEAR_TRANSMITTER) this.transmitter.clear();
    if (modeChanges) this.setFcr(fcr & reg.FCR_STORED);
    else this.setTriggerLevel(fcr & reg.FCR_STORED);
    this.callFarEnd();
    this.interrupts.update();
  }

  /** Both FIFOs are empty afterwards. */
  private setFcr(fcr: number): void {
    this.setTriggerLevel(fcr);
    this.receiver.fifo.setFifoMode(this.fifoMode);
    this.transmitter.setFifoMode(this.fifoMode);
    this.updateTimeOut();
  }

  private setTriggerLevel(fcr: number): void {
    this.fcr = fcr;
    this.receiver.triggerLevel = this.fifoMode ? TRIGGER_LEVELS[fcr >> 6]! : 1;
  }

  private setDivisor(divisor: number): void {
    this.line.divisor = divisor;
    this.updateTimeOut();
  }

  private writeLcr(value: number): void {
    const wasBreaking = this.breaking;
    this.line.control = value;
    this.updateTimeOut();
    if (this.breaking !== wasBreaking) this.pins.sendBreak(this.breaking);
  }

  private writeMcr(value: number): void {
    this.setMcr(value);
    this.callFarEnd();
    this.interrupts.update();
  }

  private setMcr(value: number): void {
    const wasBreaking = this.breaking;
    this.modem.control = value;
    if (this.modem.outputs & reg.MCR_RTS) this.usesRts = true;
    if (this.breaking !== wasBreaking) this.pins.sendBreak(this.breaking);
  }

  /** Sends what there is, until the far end takes no more. */
  transmit(): void {
    while (this.running) {
      const character = this.transmitter.next();
      if (character < 0) return;
      this.interrupts.update();
      if (!this.sendCharacter(character & this.line.wordMask)) return;
      this.transmitter.sent();
    }
  }

  private sendCharacter(character: number): boolean {
    if (this.modem.loopback) {
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
      while (next < to && !this.receiver.fifo.full) this.shiftIn(bytes[next++]! & this.line.wordMask, 0);
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
    this.interrupts.update();
  }

  /** Tells a far end that waits that there is room. It may call `receive` before this returns. */
  private callFarEnd(): void {
    if (!this.farEndWaits || !this.receiving || this.receiver.fifo.full) return;
    this.farEndWaits = false;
    this.pins.receiverReady();
  }

  /** Loopback disconnects SIN: the far end waits then too. */
  private get receiving(): boolean {
    if (!this.running || this.modem.loopback) return false;
    return !this.usesRts || this.modem.requestsToSend;
  }

  /** CTS, DSR, RI and DCD as they are at the pins, in the bits of the MSR. */
  setModemInputs(inputs: number): void {
    this.modem.setInputs(inputs);
    this.interrupts.update();
  }

  /** DTR, RTS, OUT1 and OUT2 at the pins: off in loopback. */
  get modemOutputs(): number {
    return this.modem.outputs;
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
    this.interrupts.update();
  }

  /** LCR bit 6 acts on SOUT, which loopback holds at marking. */
  private get breaking(): boolean {
    return this.line.breakControl && !this.modem.loopback;
  }

  private get fifoMode(): boolean {
    return (this.fcr & reg.FCR_FIFO_ENABLE) !== 0;
  }

  private updateTimeOut(): void {
    this.receiver.timeOut = this.fifoMode ? 4 * this.line.characterTime : 0;
  }

  private declareState(): Section {
    return section(
      {
        // The FCR first: it sets the mode of the FIFOs and empties them.
        fcr: u8(
          () => this.fcr,
          (fcr) => this.setFcr(fcr),
          { valid: (fcr) => fcr === 0 || (fcr & ~reg.FCR_STORED) === 0 },
        ),
        ier: u8(
          () => this.interrupts.enabled,
          (ier) => (this.interrupts.enabled = ier),
          { valid: (ier) => (ier & ~reg.IER_BITS) === 0 },
        ),
        lcr: u8(
          () => this.line.control,
          (lcr) => this.writeLcr(lcr),
        ),
        mcr: u8(
          () => this.modem.control,
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
          () => this.line.divisor,
          (divisor) => this.setDivisor(divisor),
        ),
        modemDeltas: u8(
          () => this.modem.deltas,
          (deltas) => (this.modem.deltas = deltas),
          { valid: (deltas) => (deltas & reg.MSR_INPUTS) === 0 },
        ),
        ...this.receiver.fields,
        ...this.transmitter.fields,
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
}
