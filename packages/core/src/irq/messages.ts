import { VfioError } from "../errno.js";
import type { InterruptMessages } from "../device/function.js";
import type { IrqLines } from "./lines.js";
import type { IrqTrigger } from "./trigger.js";

/** Who masks a vector. A vector with any bit set is masked. */
const Mask = {
  /** The client, by SET_IRQS. */
  CLIENT: 1 << 0,
  /** The guest: a bit of MSI's Mask Bits register, or a Vector Control that the client passed on. */
  GUEST: 1 << 1,
} as const;

/**
 * MSI or MSI-X: each raise is an edge to its vector's trigger.
 *
 * An edge that cannot go out now stays pending, as one bit however many there were, and goes out once when it
 * can: when the vector is masked (by the client, the guest, or MSI-X's Function Mask), has no trigger yet, or
 * the device is held. Pending bits are the device's: they outlive a client, but not a reset, nor a client that
 * disables the index, which says that it no longer waits for what was raised.
 *
 * Which masks count: the Function Mask (config space) and MSI's Mask Bits do, because clients pass
 * configuration writes on. The Vector Control in the MSI-X table is different. Clients that virtualise the
 * table (QEMU, Linux's VFIO) keep it from us, and our copy reads "masked" from power-on to the end; what they
 * want masked, they mask by SET_IRQS or by their own handler. So the table's power-on value masks nothing. A
 * *write* of Vector Control that does arrive comes from a client that passes the table on, and counts:
 * `setMasked`.
 */
export class MessageVectors implements InterruptMessages, IrqLines {
  readonly #name: string;
  readonly #triggers: (IrqTrigger | undefined)[];
  readonly #masks: Uint8Array;
  readonly #pending: Uint8Array;
  #functionMasked = false;
  /** A message is a write to memory, as DMA is. */
  #busMaster = true;
  #held = false;
  #enabled = false;
  readonly #onPending: (vector: number, pending: boolean) => void;

  /**
   * @param name for messages: "MSI" or "MSI-X"
   * @param count vectors
   * @param onPending told of each change of a pending bit: MSI's Pending Bits register, MSI-X's PBA
   */
  constructor(name: string, count: number, onPending: (vector: number, pending: boolean) => void) {
    this.#name = name;
    this.#triggers = Array.from({ length: count }, () => undefined);
    this.#masks = new Uint8Array(count);
    this.#pending = new Uint8Array(count);
    this.#onPending = onPending;
  }

  get count(): number {
    return this.#masks.length;
  }

  /**
   * The client has set this index up and not disabled it since: the function sends these messages, and not
   * INTx (PCIe 6.0 §6.1.4: a function that uses MSI or MSI-X does not use INTx).
   */
  get enabled(): boolean {
    return this.#enabled;
  }

  isPending(vector: number): boolean {
    return this.#pending[vector] === 1;
  }

  // The device's side.

  /** @throws VfioError EINVAL, if the device has no such vector */
  raise(vector: number): void {
    if (!(vector >= 0 && vector < this.count))
      throw new VfioError("EINVAL", `${this.#name} vector ${vector}: the device has ${this.count}`);
    if (this.#canSend(vector)) this.#triggers[vector]!.signal();
    else this.#setPending(vector, true);
  }

  // The guest's and the core's side.

  /** MSI's Mask Bits, or a write of MSI-X's Vector Control that reached the device. */
  setMasked(vector: number, masked: boolean): void {
    this.#setMask(vector, Mask.GUEST, masked);
  }

  /** MSI-X Message Control bit 14, Function Mask. */
  setFunctionMasked(masked: boolean): void {
    this.#functionMasked = masked;
    this.#sendAll();
  }

  /** PCI 3.0 §6.2.2, Bus Master: while it is 0 messages stay pending. */
  setBusMaster(on: boolean): void {
    this.#busMaster = on;
    this.#sendAll();
  }

  /** While held, edges collect as pending bits. */
  setHeld(held: boolean): void {
    this.#held = held;
    this.#sendAll();
  }

  /** Nothing is pending, and the guest's masks are at power-on. The client's triggers and masks stay. */
  deviceReset(): void {
    this.#dropPending();
    this.#functionMasked = false;
    for (let v = 0; v < this.count; v++) this.#masks[v]! &= ~Mask.GUEST;
  }

  /** Pending bits, vector 0 in bit 0 of byte 0, as in a PBA. */
  savePending(): Uint8Array {
    const bits = new Uint8Array(Math.ceil(this.count / 8));
    for (let v = 0; v < this.count; v++) bits[v >> 3]! |= this.#pending[v]! << (v & 7);
    return bits;
  }

  /** The guest's masks, as `savePending` has the pending bits. */
  saveMasks(): Uint8Array {
    const bits = new Uint8Array(Math.ceil(this.count / 8));
    for (let v = 0; v < this.count; v++) if (this.#masks[v]! & Mask.GUEST) bits[v >> 3]! |= 1 << (v & 7);
    return bits;
  }

  /** Replaces the guest's masks by saved ones, as long as `checkBits` accepts. */
  loadMasks(bits: Uint8Array): void {
    for (let v = 0; v < this.count; v++) this.setMasked(v, (bits[v >> 3]! & (1 << (v & 7))) !== 0);
  }

  /** @throws VfioError EINVAL, if saved bits are not as many as the vectors need */
  checkBits(what: "pending bits" | "masks", bits: Uint8Array): void {
    const expected = Math.ceil(this.count / 8);
    if (bits.length !== expected)
      throw new VfioError(
        "EINVAL",
        `${this.#name} ${what} of ${bits.length} bytes: ${this.count} vectors need ${expected}`,
      );
  }

  /** Replaces the pending bits by saved ones, which `checkBits` accepts. */
  loadPending(bits: Uint8Array): void {
    for (let v = 0; v < this.count; v++) this.#setPending(v, (bits[v >> 3]! & (1 << (v & 7))) !== 0);
    this.#sendAll();
  }

  // The client's side.

  assign(vector: number, trigger: IrqTrigger | undefined): void {
    this.#enabled = true;
    this.#triggers[vector]?.close();
    this.#triggers[vector] = trigger;
    this.#send(vector);
  }

  mask(vector: number): void {
    this.#setMask(vector, Mask.CLIENT, true);
  }

  unmask(vector: number): void {
    this.#setMask(vector, Mask.CLIENT, false);
  }

  fire(vector: number): void {
    this.#triggers[vector]?.signal();
  }

  disable(): void {
    this.disconnect();
    this.#dropPending();
  }

  disconnect(): void {
    this.#enabled = false;
    for (let v = 0; v < this.count; v++) {
      this.#triggers[v]?.close();
      this.#triggers[v] = undefined;
      this.#masks[v]! &= ~Mask.CLIENT;
    }
  }

  #canSend(vector: number): boolean {
    return (
      this.#triggers[vector] !== undefined &&
      this.#masks[vector] === 0 &&
      !this.#functionMasked &&
      this.#busMaster &&
      !this.#held
    );
  }

  #setMask(vector: number, bit: number, masked: boolean): void {
    if (masked) this.#masks[vector]! |= bit;
    else this.#masks[vector]! &= ~bit;
    this.#send(vector);
  }

  /** Sends what is pending, if it can go out. */
  #send(vector: number): void {
    if (!this.isPending(vector) || !this.#canSend(vector)) return;
    this.#setPending(vector, false);
    this.#triggers[vector]!.signal();
  }

  #sendAll(): void {
    for (let v = 0; v < this.count; v++) this.#send(v);
  }

  #dropPending(): void {
    for (let v = 0; v < this.count; v++) this.#setPending(v, false);
  }

  #setPending(vector: number, pending: boolean): void {
    if (pending === this.isPending(vector)) return;
    this.#pending[vector] = pending ? 1 : 0;
    this.#onPending(vector, pending);
  }
}
