import { Shared, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { DmaBacking } from "../memory.js";

/** What a mapping needs of its device. */
export interface MappableDevice {
  readonly name: string;
  /**
   * Runs `use` under memoryLock held for reading, while memory is enabled.
   * @throws VfioError EIO: memory is disabled, or power is off (Linux: SIGBUS)
   */
  withMemory<T>(task: Task, use: () => T): T | Promise<T>;
}

/**
 * A mapping of a memory-like BAR in this process (Linux: a VMA whose pages vfio-pci faults in).
 *
 * It is empty at first. `fault` fills it, under memoryLock, as a first touch does; whatever takes the BARs away
 * zaps it, and the next touch faults again.
 */
export class BarMapping implements Disposable {
  readonly #bytes = new Shared<Uint8Array | undefined>("mapping", undefined);

  constructor(
    private readonly device: MappableDevice,
    private readonly memory: Uint8Array,
    private readonly onDispose: (mapping: BarMapping) => void,
  ) {}

  /** True while a touch needs no fault. */
  get isPresent(): boolean {
    return this.#bytes.value !== undefined;
  }

  /** The BAR's bytes. Use them before the next `await`: a zap does not wait. @throws VfioError EFAULT: not faulted in */
  get bytes(): Uint8Array {
    if (!this.#bytes.value)
      throw new VfioError("EFAULT", `${this.device.name}: the BAR mapping was zapped, or never touched`);
    return this.#bytes.value;
  }

  /** Linux: vfio_pci_mmap_fault. @throws VfioError EIO: memory is disabled, or power is off (or rejects) */
  fault(task: Task): void | Promise<void> {
    if (this.#bytes.value) return;
    return this.device.withMemory(task, () => {
      this.#bytes.value = this.memory;
    });
  }

  /** Linux: unmap_mapping_range. Under memoryLock held for writing. */
  zap(): void {
    this.#bytes.value = undefined;
  }

  [Symbol.dispose](): void {
    this.zap();
    this.onDispose(this);
  }
}

/** A memory-like BAR as memory that another device can reach by DMA (peer to peer). */
export class BarBacking implements DmaBacking {
  constructor(
    private readonly device: MappableDevice,
    readonly bytes: Uint8Array,
  ) {}

  /** Faults the BAR in: under memoryLock, and only while memory is enabled. */
  pin(task: Task): void | Promise<void> {
    return this.device.withMemory(task, () => undefined);
  }

  read(offset: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    this.bytes.set(from, offset);
  }

  release(): void {
    // The memory is the device's.
  }
}
