import { Shared, type RwSemaphore, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { ConfigSpace } from "../pci/index.js";
import type { ResetInitiator } from "../reset/initiator.js";
import type { Region } from "./build-regions.js";
import type { DeviceControl } from "./device-control.js";
import { NUM_REGIONS, RegionIndex, type RegionInfo } from "../uapi.js";
import type { RuntimePm } from "./runtime-pm.js";

/** What accesses need of their device. */
interface AccessedDevice {
  readonly name: string;
  readonly config: ConfigSpace;
  readonly memoryLock: RwSemaphore;
  readonly runtimePm: RuntimePm;
  /** @internal */
  zapBars(): void;
  reset(task: Task, initiator: ResetInitiator): Promise<void>;
  warn(message: string): void;
}

/**
 * Accesses to a device's regions: under memoryLock for reading (Linux: vfio_pci_rdwr.c). A write of
 * configuration space takes it for writing, and may end in a reset (vfio_pci_config.c).
 */
export class RegionAccess {
  readonly #removed = new Shared("removed", false);

  constructor(
    private readonly device: AccessedDevice,
    private readonly control: DeviceControl,
    private readonly regions: readonly (Region | undefined)[],
  ) {}

  /** The card was pulled out: reads give ones, writes go nowhere. */
  remove(): void {
    this.#removed.value = true;
  }

  get removed(): boolean {
    return this.#removed.value;
  }

  info(index: number): RegionInfo {
    if (!Number.isInteger(index) || index < 0 || index >= NUM_REGIONS) {
      throw new VfioError("EINVAL", `region index ${index}: the device has ${NUM_REGIONS} regions`);
    }
    return (
      this.regions[index]?.info ?? { index, flags: 0, size: 0, fd: undefined, mmapAreas: [], ioEvents: [] }
    );
  }

  // A closure here would cost an allocation on every access, also on those that do not wait.

  read(
    task: Task,
    index: number,
    offset: number,
    count: number,
    into: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const region = this.#check(index, offset, count);
    if (this.device.runtimePm.suspended) return this.#readSuspended(task, index, offset, count, into, at);
    const wait = this.device.memoryLock.downRead(task);
    if (wait) return this.#readLater(wait, task, region, offset, count, into, at);
    this.#readLocked(task, region, offset, count, into, at);
  }

  write(
    task: Task,
    index: number,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const region = this.#check(index, offset, count);
    if (this.device.runtimePm.suspended) return this.#writeSuspended(task, index, offset, count, from, at);
    if (index === RegionIndex.CONFIG) return this.#writeConfig(task, offset, count, from, at);
    const wait = this.device.memoryLock.downRead(task);
    if (wait) return this.#writeLater(wait, task, region, offset, count, from, at);
    this.#writeLocked(task, region, offset, count, from, at);
  }

  /** Runs `use` under memoryLock for reading. @throws VfioError EIO: memory is disabled, or the device is not in D0 */
  withMemory<T>(task: Task, use: () => T): T | Promise<T> {
    const wait = this.device.memoryLock.downRead(task);
    return wait ? wait.then(() => this.#useLocked(task, use)) : this.#useLocked(task, use);
  }

  #check(index: number, offset: number, count: number): Region {
    const region = this.regions[index];
    if (!region) {
      const { size } = this.info(index); // tells an index without a region from one that cannot be
      throw new VfioError("EINVAL", `region ${index}: its size is ${size}, so there is nothing to access`);
    }
    if (!(offset >= 0 && count >= 0 && offset + count <= region.info.size)) {
      throw new VfioError(
        "EINVAL",
        `region ${index}: offset ${offset} and count ${count} leave its ${region.info.size} bytes`,
      );
    }
    return region;
  }

  /** An access to a suspended device wakes it for as long as it takes (Linux: vfio_pci_rw). */
  async #readSuspended(
    task: Task,
    index: number,
    offset: number,
    count: number,
    into: Uint8Array,
    at: number,
  ): Promise<void> {
    await this.device.runtimePm.get(task);
    try {
      await this.read(task, index, offset, count, into, at);
    } finally {
      this.device.runtimePm.put();
    }
  }

  async #writeSuspended(
    task: Task,
    index: number,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): Promise<void> {
    const bytes = from.slice(at, at + count); // the caller's buffer is its own again once it waits
    await this.device.runtimePm.get(task);
    try {
      await this.write(task, index, offset, count, bytes, 0);
    } finally {
      this.device.runtimePm.put();
    }
  }

  async #readLater(
    wait: Promise<void>,
    task: Task,
    region: Region,
    offset: number,
    count: number,
    into: Uint8Array,
    at: number,
  ): Promise<void> {
    await wait;
    this.#readLocked(task, region, offset, count, into, at);
  }

  async #writeLater(
    wait: Promise<void>,
    task: Task,
    region: Region,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): Promise<void> {
    const bytes = from.slice(at, at + count); // as above
    await wait;
    this.#writeLocked(task, region, offset, count, bytes, 0);
  }

  /** Linux takes memory_lock for writing around whatever can take the BARs away. */
  #writeConfig(
    task: Task,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const wait = this.device.memoryLock.downWrite(task);
    if (wait) return this.#writeConfigLater(wait, task, offset, from.slice(at, at + count));
    return this.#writeConfigLocked(task, offset, count, from, at);
  }

  async #writeConfigLater(wait: Promise<void>, task: Task, offset: number, bytes: Uint8Array): Promise<void> {
    await wait;
    await this.#writeConfigLocked(task, offset, bytes.length, bytes, 0);
  }

  #readLocked(task: Task, region: Region, offset: number, count: number, into: Uint8Array, at: number): void {
    try {
      if (this.#removed.value) {
        into.fill(0xff, at, at + count);
      } else {
        if (region.needsMemory) this.#checkMemory();
        region.handler.read(offset, count, into, at);
      }
    } finally {
      this.device.memoryLock.upRead(task);
    }
  }

  #writeLocked(
    task: Task,
    region: Region,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): void {
    try {
      if (this.#removed.value) return;
      if (region.needsMemory) this.#checkMemory();
      region.handler.write(offset, count, from, at);
    } finally {
      this.device.memoryLock.upRead(task);
    }
  }

  #useLocked<T>(task: Task, use: () => T): T {
    try {
      this.#checkMemory();
      return use();
    } finally {
      this.device.memoryLock.upRead(task);
    }
  }

  /**
   * Linux: vfio_pci_core_do_io_rw refuses memory BARs with EIO while __vfio_pci_memory_enabled is false, and lets I/O BARs
   * pass whatever I/O Enable says: so do we.
   */
  #checkMemory(): void {
    if (this.control.memoryEnabled && !this.device.runtimePm.engaged) return;
    throw new VfioError("EIO", `${this.device.name}: memory is disabled, or the device is not in D0`);
  }

  #writeConfigLocked(
    task: Task,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const { config, memoryLock } = this.device;
    const before = this.control.powerState;
    let effects = 0;
    try {
      if (!this.#removed.value) effects = config.write(offset, from, at, count);
      if (effects !== 0) this.control.apply();
      if (!this.control.memoryEnabled) this.device.zapBars();
    } finally {
      memoryLock.upWrite(task);
    }
    const initiator = this.control.resetBy(effects, before);
    if (initiator) return this.#resetByWrite(task, initiator);
  }

  /** A configuration write cannot be refused for a reset that failed: it did not happen (Linux does not look either). */
  async #resetByWrite(task: Task, initiator: ResetInitiator): Promise<void> {
    try {
      await this.device.reset(task, initiator);
    } catch (error) {
      if (task.signal?.aborted) throw error;
      this.device.warn(error instanceof Error ? error.message : String(error));
    }
  }
}
