import { VfioError } from "../errno.js";
import type { ConfigLayout, Refine, Watch } from "./layout.js";

/** What a write to configuration space asks of the device, as a bit mask. */
export const ConfigEffect = {
  /** I/O, memory or bus master enable changed. */
  COMMAND: 1 << 0,
  /** The command register's INTx disable bit changed. */
  INTX_DISABLE: 1 << 1,
  /** A base address changed. */
  BARS: 1 << 2,
  /** The expansion ROM's address or enable bit changed. */
  ROM: 1 << 3,
  /** PMCSR's power state changed; it already reads as the new one. */
  POWER_STATE: 1 << 4,
  /** Function level reset by the PCI Express capability. */
  FLR_PCIE: 1 << 5,
  /** Function level reset by the Advanced Features capability. */
  FLR_AF: 1 << 6,
  /** MSI enable or the number of enabled messages changed. */
  MSI: 1 << 7,
  /** MSI mask bits changed. */
  MSI_MASK: 1 << 8,
  /** MSI-X enable or function mask changed. */
  MSIX: 1 << 9,
} as const;

/**
 * The configuration space of one function. `read` and `write` are what software does, through the masks of the
 * fields; `get` and `set` are what the device does to its own registers. Nothing here waits, calls out or allocates:
 * a write that needs more than bytes (a reset, a power state) is reported, and the device acts on it.
 */
export class ConfigSpace {
  /** Bytes: 4096 with PCI Express, else 256. */
  readonly size: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly powerOn: Uint8Array;
  private readonly rw: Uint8Array;
  private readonly w1c: Uint8Array;
  private readonly action: Uint8Array;
  private readonly watches: readonly (readonly Watch[] | undefined)[];
  private readonly refine: readonly (Refine | undefined)[];

  constructor(layout: ConfigLayout) {
    this.size = layout.size;
    this.powerOn = layout.powerOn;
    this.rw = layout.rw;
    this.w1c = layout.w1c;
    this.action = layout.action;
    this.watches = layout.watches;
    this.refine = layout.refine;
    this.bytes = layout.powerOn.slice();
    this.view = new DataView(this.bytes.buffer);
  }

  /**
   * Copies `count` bytes from `offset` to `into[at]` on.
   * @throws VfioError EINVAL for bytes outside the space
   */
  read(offset: number, count: number, into: Uint8Array, at: number): void {
    this.check(offset, count);
    for (let i = 0; i < count; i++) into[at + i] = this.bytes[offset + i]!;
  }

  /**
   * Writes `count` bytes of `from[at]` on to `offset`, in any size and alignment.
   * @returns the `ConfigEffect`s that the write asks for
   * @throws VfioError EINVAL for bytes outside the space; nothing is written then
   */
  write(offset: number, from: Uint8Array, at: number, count: number): number {
    this.check(offset, count);
    let effects = 0;
    for (let i = 0; i < count; i++) effects |= this.writeByte(offset + i, from[at + i]!);
    return effects;
  }

  private writeByte(offset: number, written: number): number {
    const old = this.bytes[offset]!;
    const rw = this.rw[offset]!;
    let value = ((old & ~rw) | (written & rw)) & ~(written & this.w1c[offset]!);
    const refine = this.refine[offset];
    if (refine !== undefined) value = refine(old, value);
    this.bytes[offset] = value;

    const touched = (old ^ value) | (written & this.action[offset]!);
    const watches = this.watches[offset];
    if (touched === 0 || watches === undefined) return 0;
    let effects = 0;
    for (const watch of watches) if ((touched & watch.bits) !== 0) effects |= watch.effect;
    return effects;
  }

  get8(offset: number): number {
    return this.view.getUint8(offset);
  }

  get16(offset: number): number {
    return this.view.getUint16(offset, true);
  }

  get32(offset: number): number {
    return this.view.getUint32(offset, true);
  }

  set8(offset: number, value: number): void {
    this.view.setUint8(offset, value);
  }

  set16(offset: number, value: number): void {
    this.view.setUint16(offset, value, true);
  }

  set32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true);
  }

  /** Sets or clears the bits of `mask` in the 16-bit register at `offset`: status bits that the device owns. */
  assign16(offset: number, mask: number, on: boolean): void {
    const old = this.get16(offset);
    this.set16(offset, on ? old | mask : old & ~mask);
  }

  /** Puts every byte at its power-on value, sticky bits included. */
  reset(): void {
    this.bytes.set(this.powerOn);
  }

  /** The bytes as they are, for migration. */
  snapshot(): Uint8Array {
    return this.bytes.slice();
  }

  /**
   * Takes the state of another device of the same kind: the bits that software can change. Everything else (ids,
   * sizes, capabilities) stays this device's own, whatever the bytes say.
   * @throws VfioError EINVAL for another length; nothing changes then
   */
  load(bytes: Uint8Array): void {
    if (bytes.length !== this.size) {
      throw new VfioError(
        "EINVAL",
        `configuration space: ${bytes.length} bytes to load, the device has ${this.size}`,
      );
    }
    for (let offset = 0; offset < this.size; offset++) {
      const fixed = this.powerOn[offset]!;
      const state = this.rw[offset]! | this.w1c[offset]!;
      const value = (fixed & ~state) | (bytes[offset]! & state);
      const refine = this.refine[offset];
      this.bytes[offset] = refine === undefined ? value : refine(fixed, value);
    }
  }

  private check(offset: number, count: number): void {
    if (offset >= 0 && count >= 0 && offset + count <= this.size) return;
    throw new VfioError(
      "EINVAL",
      `configuration space: offset ${offset} and count ${count} leave its ${this.size} bytes`,
    );
  }
}
