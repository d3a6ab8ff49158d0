import * as reg from "./registers.js";

/** The data sheet gives the divisor latch no power-on value: 9600 baud, as PC firmware leaves it. */
const DEFAULT_DIVISOR = 12;

/**
 * What a character looks like on the wire, and how long it takes: the LCR and the divisor latch.
 * PC16550D data sheet, 8.1 "Line Control Register" and 8.2 "Programmable Baud Generator".
 */
export class Line {
  /** The LCR. */
  control = 0;
  /** Bits 0 to 15: DLM and DLL. */
  divisor = DEFAULT_DIVISOR;

  reset(): void {
    this.control = 0;
    this.divisor = DEFAULT_DIVISOR;
  }

  /** Offsets 0 and 1 are the divisor latch. */
  get divisorLatchAccess(): boolean {
    return (this.control & reg.LCR_DLAB) !== 0;
  }

  get breakControl(): boolean {
    return (this.control & reg.LCR_BREAK) !== 0;
  }

  /** LCR bits 0 and 1: characters have 5 to 8 bits, right-justified. */
  get wordMask(): number {
    return (0x20 << (this.control & reg.LCR_WORD_LENGTH)) - 1;
  }

  /** Milliseconds that a character takes on the wire: start bit, word, parity, stop bits. */
  get characterTime(): number {
    const wordLength = 5 + (this.control & reg.LCR_WORD_LENGTH);
    const parity = this.control & reg.LCR_PARITY ? 1 : 0;
    const stop = this.control & reg.LCR_STOP_BITS ? (wordLength === 5 ? 1.5 : 2) : 1;
    // A divisor of 0 stops the chip's baud generator; here it counts as the slowest.
    const bitTime = ((this.divisor === 0 ? 0x10000 : this.divisor) * 16 * 1000) / reg.CLOCK_HZ;
    return (1 + wordLength + parity + stop) * bitTime;
  }
}
