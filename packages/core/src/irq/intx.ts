import type { InterruptLine } from "../device/function.js";
import type { IrqLines } from "./lines.js";
import type { IrqTrigger } from "./trigger.js";

/**
 * INTx: a level, on a transport that can only carry edges.
 *
 * An asserted line is delivered when nothing holds it back: not masked by the client, not disabled by the
 * guest (PCI command register, bit 10), not held by a stopped device, and a trigger to signal. Delivering it
 * masks it (VFIO uAPI: IRQ_INFO_AUTOMASKED), so that one assertion is one signal. The client unmasks when its
 * guest may have served the device (QEMU: after any access to a BAR); if the line is still asserted then, it
 * is delivered again. So neither a missed end-of-interrupt nor a second cause loses an interrupt.
 */
export class IntxLine implements InterruptLine, IrqLines {
  #asserted = false;
  #masked = false;
  #disabled = false;
  #held = false;
  #trigger: IrqTrigger | undefined;
  /** What the client signals to unmask. */
  #unmasker: IrqTrigger | undefined;
  readonly #onStatus: (asserted: boolean) => void;

  /** @param onStatus told of the level: the Interrupt Status bit, which no mask hides (PCIe 6.0 §7.5.1.1.4) */
  constructor(onStatus: (asserted: boolean) => void) {
    this.#onStatus = onStatus;
  }

  get asserted(): boolean {
    return this.#asserted;
  }

  /** The client has masked it, or it was delivered and the client has not unmasked it since. */
  get masked(): boolean {
    return this.#masked;
  }

  // The device's side.

  raise(): void {
    this.set(true);
  }

  lower(): void {
    this.set(false);
  }

  set(asserted: boolean): void {
    if (asserted === this.#asserted) return;
    this.#asserted = asserted;
    this.#onStatus(asserted);
    this.#deliver();
  }

  // The guest's and the core's side.

  /** PCI command register bit 10, Interrupt Disable. */
  setDisabled(disabled: boolean): void {
    this.#disabled = disabled;
    this.#deliver();
  }

  /** While held, the level changes but nothing is delivered. */
  setHeld(held: boolean): void {
    this.#held = held;
    this.#deliver();
  }

  /** The line is low, and the guest's bit at power-on. The client's trigger and mask stay. */
  deviceReset(): void {
    this.set(false);
    this.#disabled = false;
  }

  // The client's side.

  assign(_i: number, trigger: IrqTrigger | undefined): void {
    this.#trigger?.close();
    this.#trigger = trigger;
    this.#deliver();
  }

  mask(): void {
    this.#masked = true;
  }

  unmask(): void {
    this.#masked = false;
    this.#deliver();
  }

  /** Has the client unmask by signalling `trigger`; undefined: not any more. (Linux: vfio_virqfd_enable) */
  unmaskBy(trigger: IrqTrigger | undefined): void {
    this.#unmasker?.close();
    this.#unmasker = trigger;
    trigger?.listen?.(() => this.unmask());
  }

  /** Linux: not while the guest disables INTx, but the client's mask does not matter. */
  fire(): void {
    if (!this.#disabled) this.#trigger?.signal();
  }

  disable(): void {
    this.unmaskBy(undefined);
    this.assign(0, undefined);
    this.#masked = false;
  }

  disconnect(): void {
    this.disable();
  }

  #deliver(): void {
    if (!this.#asserted || this.#masked || this.#disabled || this.#held || !this.#trigger) return;
    this.#masked = true;
    this.#trigger.signal();
  }
}
