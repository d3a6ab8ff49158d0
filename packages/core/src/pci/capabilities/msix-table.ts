import { VfioError } from "../../errno.js";
import { PciMsixEntry, PciMsixEntryCtrl } from "../registers.js";
import { msixPbaSize, msixTableSize } from "./msix.js";

/**
 * The MSI-X table and pending bits as a client sees them in a BAR. It holds the values and says which vectors'
 * masks were written; whoever delivers interrupts decides what a mask means. PCI 3.0 §6.8.2
 */
export class MsixTable {
  private readonly entries: DataView;
  private readonly pending: DataView;

  /** `maskWritten` is called for each write of a vector's mask bit, and not for a reset. */
  constructor(
    readonly vectors: number,
    private readonly maskWritten: (vector: number, masked: boolean) => void,
  ) {
    this.entries = new DataView(new ArrayBuffer(msixTableSize(vectors)));
    this.pending = new DataView(new ArrayBuffer(msixPbaSize(vectors)));
    this.reset();
  }

  /** Bytes. */
  get tableSize(): number {
    return this.entries.byteLength;
  }

  /** Bytes. */
  get pbaSize(): number {
    return this.pending.byteLength;
  }

  /** Every vector masked, all else 0. PCI 3.0 §6.8.2.9: the mask bit's state after reset is 1. */
  reset(): void {
    for (let at = 0; at < this.entries.byteLength; at += PciMsixEntry.SIZE) {
      this.entries.setUint32(at + PciMsixEntry.LOWER_ADDR, 0, true);
      this.entries.setUint32(at + PciMsixEntry.UPPER_ADDR, 0, true);
      this.entries.setUint32(at + PciMsixEntry.DATA, 0, true);
      this.entries.setUint32(at + PciMsixEntry.VECTOR_CTRL, PciMsixEntryCtrl.MASKBIT, true);
    }
    for (let at = 0; at < this.pending.byteLength; at++) this.pending.setUint8(at, 0);
  }

  /** Reads 1, 2 or 4 bytes of the table: an unsigned number. */
  readTable(offset: number, size: number): number {
    return readUint(this.entries, offset, size);
  }

  /** Reads 1, 2 or 4 bytes of the pending bits. */
  readPba(offset: number, size: number): number {
    return readUint(this.pending, offset, size);
  }

  /** Writes 4 bytes of the table. Other sizes are ignored: PCI 3.0 §6.8.2 leaves them undefined. */
  writeTable(offset: number, value: number, size: number): void {
    if (size !== 4 || offset % 4 !== 0) return;
    switch (offset % PciMsixEntry.SIZE) {
      case PciMsixEntry.LOWER_ADDR:
        this.entries.setUint32(offset, value & ~3, true);
        return;
      case PciMsixEntry.VECTOR_CTRL:
        this.writeControl(Math.floor(offset / PciMsixEntry.SIZE), value & PciMsixEntryCtrl.MASKBIT);
        return;
      default:
        this.entries.setUint32(offset, value, true);
    }
  }

  private writeControl(vector: number, control: number): void {
    // Also where the bit stays: a mask that is written counts, the one from power-on does not (MessageVectors).
    this.entries.setUint32(vector * PciMsixEntry.SIZE + PciMsixEntry.VECTOR_CTRL, control, true);
    this.maskWritten(vector, control !== 0);
  }

  isMasked(vector: number): boolean {
    return this.entries.getUint32(vector * PciMsixEntry.SIZE + PciMsixEntry.VECTOR_CTRL, true) !== 0;
  }

  isPending(vector: number): boolean {
    return (this.pending.getUint8(vector >> 3) & (1 << (vector & 7))) !== 0;
  }

  setPending(vector: number, on: boolean): void {
    const bit = 1 << (vector & 7);
    const old = this.pending.getUint8(vector >> 3);
    this.pending.setUint8(vector >> 3, on ? old | bit : old & ~bit);
  }

  /** The table's bytes, for migration; pending bits are the interrupt controller's to carry. */
  snapshot(): Uint8Array {
    return new Uint8Array(this.entries.buffer.slice(0));
  }

  /**
   * Takes the table of another device. Calls nothing: the masks are to be read afterwards.
   * @throws VfioError EINVAL for another length
   */
  load(bytes: Uint8Array): void {
    if (bytes.length !== this.entries.byteLength) {
      throw new VfioError(
        "EINVAL",
        `MSI-X table: ${bytes.length} bytes to load, ${this.vectors} vectors take ${this.entries.byteLength}`,
      );
    }
    new Uint8Array(this.entries.buffer).set(bytes);
    for (let at = 0; at < bytes.length; at += PciMsixEntry.SIZE) {
      const low = this.entries.getUint32(at + PciMsixEntry.LOWER_ADDR, true);
      const control = this.entries.getUint32(at + PciMsixEntry.VECTOR_CTRL, true);
      this.entries.setUint32(at + PciMsixEntry.LOWER_ADDR, low & ~3, true);
      this.entries.setUint32(at + PciMsixEntry.VECTOR_CTRL, control & PciMsixEntryCtrl.MASKBIT, true);
    }
  }
}

function readUint(view: DataView, offset: number, size: number): number {
  switch (size) {
    case 1:
      return view.getUint8(offset);
    case 2:
      return view.getUint16(offset, true);
    default:
      return view.getUint32(offset, true);
  }
}
