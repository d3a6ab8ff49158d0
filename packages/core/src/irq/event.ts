import type { IrqLines } from "./lines.js";
import type { IrqTrigger } from "./trigger.js";

/**
 * ERR and REQ: one event to the client itself, outside the device's interrupts. Never masked, never pending:
 * with no trigger it is lost, as in Linux (the client that did not ask is not told).
 */
export class EventLine implements IrqLines {
  #trigger: IrqTrigger | undefined;

  fire(): void {
    this.#trigger?.signal();
  }

  assign(_i: number, trigger: IrqTrigger | undefined): void {
    this.#trigger?.close();
    this.#trigger = trigger;
  }

  mask(): void {
    // SET_IRQS refuses it: see validateSetIrqs.
  }

  unmask(): void {
    // As `mask`.
  }

  disable(): void {
    this.assign(0, undefined);
  }

  disconnect(): void {
    this.disable();
  }
}
