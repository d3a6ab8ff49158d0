import * as reg from "./registers.js";

/**
 * The UART's modem side: the MCR, the MSR, and the pins that they are wired to.
 * PC16550D data sheet, 8.7 "Modem Control Register" and 8.8 "Modem Status Register".
 */
export class Modem {
  /** MSR bits 0 to 3. */
  deltas = 0;
  private mcr = 0;
  /** CTS, DSR, RI and DCD at the pins, in the bits of the MSR. */
  private pins = 0;

  get control(): number {
    return this.mcr;
  }

  /** A change of the outputs, or of loopback, is one of the inputs in loopback. */
  set control(mcr: number) {
    const before = this.status;
    this.mcr = mcr;
    this.noteChange(before);
  }

  /** CTS, DSR, RI and DCD as they are at the pins, in the bits of the MSR. */
  setInputs(inputs: number): void {
    const before = this.status;
    this.pins = inputs & reg.MSR_INPUTS;
    this.noteChange(before);
  }

  get loopback(): boolean {
    return (this.mcr & reg.MCR_LOOP) !== 0;
  }

  /** MCR bit 1: software lets the far end send. */
  get requestsToSend(): boolean {
    return (this.mcr & reg.MCR_RTS) !== 0;
  }

  /** DTR, RTS, OUT1 and OUT2 at the pins: off in loopback. */
  get outputs(): number {
    return this.loopback ? 0 : this.mcr & reg.MCR_OUTPUTS;
  }

  /** MSR bits 4 to 7. Loopback wires the four outputs to the four inputs. */
  get status(): number {
    if (!this.loopback) return this.pins;
    return (
      (this.mcr & reg.MCR_RTS ? reg.MSR_CTS : 0) |
      (this.mcr & reg.MCR_DTR ? reg.MSR_DSR : 0) |
      (this.mcr & reg.MCR_OUT1 ? reg.MSR_RI : 0) |
      (this.mcr & reg.MCR_OUT2 ? reg.MSR_DCD : 0)
    );
  }

  private noteChange(before: number): void {
    const changed = before ^ this.status;
    if (changed & reg.MSR_CTS) this.deltas |= reg.MSR_DCTS;
    if (changed & reg.MSR_DSR) this.deltas |= reg.MSR_DDSR;
    if (changed & before & reg.MSR_RI) this.deltas |= reg.MSR_TERI;
    if (changed & reg.MSR_DCD) this.deltas |= reg.MSR_DDCD;
  }
}
