import { VfioError } from "../errno.js";
import type { DeviceFaults } from "./faults.js";
import type { PciFunction } from "./function.js";
import { readRegisters, writeRegisters } from "./register-access.js";

/** What answers accesses to a region: registers, memory, a table. Offsets and counts are checked before. */
export interface RegionHandler {
  read(offset: number, count: number, into: Uint8Array, at: number): void;
  write(offset: number, count: number, from: Uint8Array, at: number): void;
}

type Registers = Required<Pick<PciFunction, "read" | "write">>;

/** A BAR whose accesses the device's `read` and `write` answer. What they throw is a fault of the device. */
export class RegisterRegion implements RegionHandler {
  readonly #device: Registers;

  /** @throws VfioError EINVAL when the device has no `read` or no `write` for its register BAR */
  constructor(
    name: string,
    private readonly bar: number,
    device: PciFunction,
    private readonly faults: DeviceFaults,
  ) {
    if (!device.read || !device.write) {
      throw new VfioError(
        "EINVAL",
        `${name}: BAR ${bar} holds registers, so the device needs read and write`,
      );
    }
    this.#device = device as Registers;
  }

  read(offset: number, count: number, into: Uint8Array, at: number): void {
    this.faults.check();
    try {
      readRegisters(this.#device, this.bar, offset, count, into, at, this.faults);
    } catch (error) {
      throw this.faults.caught("read", error);
    }
  }

  write(offset: number, count: number, from: Uint8Array, at: number): void {
    this.faults.check();
    try {
      writeRegisters(this.#device, this.bar, offset, count, from, at, this.faults);
    } catch (error) {
      throw this.faults.caught("write", error);
    }
  }
}

/** A table of the core's own in a BAR. */
export class TableRegion implements RegionHandler {
  constructor(private readonly table: Registers) {}

  read(offset: number, count: number, into: Uint8Array, at: number): void {
    readRegisters(this.table, 0, offset, count, into, at);
  }

  write(offset: number, count: number, from: Uint8Array, at: number): void {
    writeRegisters(this.table, 0, offset, count, from, at);
  }
}

/** A memory-like BAR. */
export class MemoryRegion implements RegionHandler {
  constructor(private readonly bytes: Uint8Array) {}

  read(offset: number, count: number, into: Uint8Array, at: number): void {
    into.set(this.bytes.subarray(offset, offset + count), at);
  }

  write(offset: number, count: number, from: Uint8Array, at: number): void {
    this.bytes.set(from.subarray(at, at + count), offset);
  }
}

/** The expansion ROM. A write is refused (Linux: vfio_pci_rw). */
export class RomRegion extends MemoryRegion {
  override write(): void {
    throw new VfioError("EINVAL", "the ROM region is read-only");
  }
}

/** A part of a BAR that the core answers and not the device: the MSI-X table, the pending bits. */
export class OverlayRegion implements RegionHandler {
  constructor(
    private readonly below: RegionHandler,
    private readonly start: number,
    private readonly end: number,
    private readonly overlay: RegionHandler,
  ) {}

  read(offset: number, count: number, into: Uint8Array, at: number): void {
    const { start, end } = this;
    if (offset >= end || offset + count <= start) {
      this.below.read(offset, count, into, at);
      return;
    }
    const [before, inside] = this.#split(offset, count);
    if (before > 0) this.below.read(offset, before, into, at);
    this.overlay.read(offset + before - start, inside, into, at + before);
    const done = before + inside;
    if (done < count) this.below.read(offset + done, count - done, into, at + done);
  }

  write(offset: number, count: number, from: Uint8Array, at: number): void {
    const { start, end } = this;
    if (offset >= end || offset + count <= start) {
      this.below.write(offset, count, from, at);
      return;
    }
    const [before, inside] = this.#split(offset, count);
    if (before > 0) this.below.write(offset, before, from, at);
    this.overlay.write(offset + before - start, inside, from, at + before);
    const done = before + inside;
    if (done < count) this.below.write(offset + done, count - done, from, at + done);
  }

  /** How many bytes of the access lie before the overlay, and how many in it. */
  #split(offset: number, count: number): [before: number, inside: number] {
    const before = Math.max(0, this.start - offset);
    return [before, Math.min(offset + count, this.end) - (offset + before)];
  }
}
