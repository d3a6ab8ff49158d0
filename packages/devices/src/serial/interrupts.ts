import type { Modem } from "./modem.js";
import type { Receiver } from "./receiver.js";
import * as reg from "./registers.js";
import type { Transmitter } from "./transmitter.js";

/** The four interrupts that INTR carries. PC16550D data sheet, 8.5 "Interrupt Identification Register", 8.6 "… Enable". */
export class Interrupts {
  /** The IER. */
  enabled = 0;
  private asserted = false;

  constructor(
    private readonly receiver: Receiver,
    private readonly transmitter: Transmitter,
    private readonly modem: Modem,
    /** INTR. Called when the level changes. */
    private readonly pin: (asserted: boolean) => void,
  ) {}

  /** The highest-priority interrupt that is pending and enabled: IIR bits 0 to 3. */
  get identity(): number {
    const { enabled, receiver } = this;
    if (enabled & reg.IER_ELSI && receiver.lineErrors !== 0) return reg.IIR_LINE_STATUS;
    if (enabled & reg.IER_ERBFI) {
      if (receiver.fifo.count >= receiver.triggerLevel) return reg.IIR_DATA_AVAILABLE;
      if (receiver.timeOutPending) return reg.IIR_TIME_OUT;
    }
    if (enabled & reg.IER_ETBEI && this.transmitter.emptyPending) return reg.IIR_THR_EMPTY;
    if (enabled & reg.IER_EDSSI && this.modem.deltas !== 0) return reg.IIR_MODEM_STATUS;
    return reg.IIR_NONE;
  }

  /** Makes the pin follow. */
  update(): void {
    const asserted = this.identity !== reg.IIR_NONE;
    if (asserted === this.asserted) return;
    this.asserted = asserted;
    this.pin(asserted);
  }
}
