import type { IrqTrigger } from "./trigger.js";

/**
 * The interrupts of one irq index, as VFIO_DEVICE_SET_IRQS addresses them. `i` is checked by the caller.
 *
 * What an implementation is given to keep, it closes: once, when it is replaced, disabled or dropped.
 */
export interface IrqLines {
  /** Takes ownership of the trigger; undefined de-assigns. */
  assign(i: number, trigger: IrqTrigger | undefined): void;
  mask(i: number): void;
  unmask(i: number): void;
  /**
   * Signals the trigger as the device would, for a loopback test. Masks are not consulted and nothing
   * becomes pending (Linux: vfio_send_intx_eventfd, vfio_pci_set_msi_trigger).
   */
  fire(i: number): void;
  /** De-assigns every trigger and forgets the client's masks: back to before the first `assign`. */
  disable(): void;
  /** The client is gone: like `disable`, but what the device has pending stays. */
  disconnect(): void;
}
