import { RwSemaphore, type Task } from "@vfiokit/lockdep";
import { DmaAddressSpace } from "../dma/address-space.js";
import { VfioError } from "../errno.js";
import { IrqController, type SetIrqs } from "../irq/index.js";
import { heapMemory, type ClientMemory, type MemoryProvider, type SharedMemory } from "../memory.js";
import { Migration } from "../migration/machine.js";
import { MigrationState } from "../migration/fsm.js";
import type { DeviceIdentity } from "../migration/stream.js";
import { SectionMigration } from "../migration/section-migration.js";
import {
  ConfigEffect,
  MsixTable,
  PciCommand,
  PciHeader,
  PciMsixFlags,
  PciMsix,
  PciPm,
  PciPmCtrl,
  PciStatus,
  PowerState,
  buildConfigSpace,
  type Capabilities,
  type ConfigSpace,
} from "../pci/index.js";
import { resetDevice, type Resettable } from "../reset/door.js";
import type { ResetInitiator } from "../reset/initiator.js";
import { buildRegions, type Region } from "./build-regions.js";
import type { PciDeviceDefinition } from "./define.js";
import { deviceState } from "./device-state.js";
import type { FunctionHost, PciFunction } from "./function.js";
import { DeviceFlags, NUM_IRQS, NUM_REGIONS, RegionIndex } from "./info.js";
import type { DeviceInfo, IrqInfo, RegionInfo } from "./info.js";

export interface PciDeviceOptions {
  /** In logs and errors. Default: the definition's name. */
  readonly name?: string;
  /** Where memory-like BARs come from. Default: memory that clients cannot map. */
  readonly memory?: MemoryProvider;
}

/**
 * A PCI device as VFIO presents it (Linux: struct vfio_pci_core_device): regions, interrupts, DMA, resets and
 * migration around one `PciFunction`. It knows no transport; a server or a test calls it.
 */
export class PciDevice implements Resettable {
  readonly name: string;
  readonly config: ConfigSpace;
  readonly capabilities: Capabilities;
  readonly irqs: IrqController;
  readonly dma = new DmaAddressSpace();
  /** Linux: vdev->memory_lock. BAR accesses hold it for reading, whatever takes the BARs away for writing. */
  readonly memoryLock = new RwSemaphore("memoryLock");
  /** Undefined for a device without `state`: it cannot be migrated. */
  readonly migration: Migration | undefined;
  generation = 0;

  readonly #function: PciFunction;
  readonly #regions: readonly (Region | undefined)[];
  readonly #memories: readonly (SharedMemory | undefined)[];
  readonly #msixTable: MsixTable | undefined;
  #stopped = false;
  #memoryEnabled = false;

  /** @throws VfioError EINVAL naming what is wrong with the definition */
  constructor(
    readonly definition: PciDeviceDefinition,
    options: PciDeviceOptions = {},
  ) {
    this.name = options.name ?? definition.name;
    const { config, bars, rom, capabilities } = buildConfigSpace(definition);
    this.config = config;
    this.capabilities = capabilities;

    const { msi, msix, aer } = capabilities;
    this.#msixTable = msix && new MsixTable(msix.vectors, (v, masked) => this.irqs.msix.setMasked(v, masked));
    this.irqs = new IrqController(
      {
        intx: definition.interruptPin ? 1 : 0,
        msi: msi?.vectors ?? 0,
        msix: msix?.vectors ?? 0,
        err: aer ? 1 : 0,
        req: 1,
      },
      {
        intxStatus: (asserted) => config.assign16(PciHeader.STATUS, PciStatus.INTERRUPT, asserted),
        msiPending: (vector, pending) => {
          if (!msi?.perVectorMask) return;
          const at = msi.offset + msi.registers.pending;
          const bits = config.get32(at);
          config.set32(at, pending ? bits | (1 << vector) : bits & ~(1 << vector));
        },
        msixPending: (vector, pending) => this.#msixTable?.setPending(vector, pending),
      },
    );

    const provider = options.memory ?? heapMemory;
    this.#memories = bars.map((bar) =>
      bar?.declaration.kind === "memory"
        ? provider.allocate(`${this.name}-bar${bar.slot}`, bar.declaration.size)
        : undefined,
    );
    this.#function = definition.create(this.#host());
    this.#regions = buildRegions(this.name, this.#function, {
      bars,
      rom,
      config,
      memories: this.#memories,
      msix: msix && this.#msixTable && { capability: msix, table: this.#msixTable },
    });
    if (this.#function.state) {
      const state = deviceState({
        config,
        irqs: this.irqs,
        msixTable: this.#msixTable,
        memories: this.#memories,
        device: this.#function.state,
        loaded: () => this.#applyConfig(),
      });
      this.migration = new Migration(this, new SectionMigration(this, identityOf(definition), state));
    }
  }

  /** VFIO_DEVICE_GET_INFO. */
  info(): DeviceInfo {
    return { flags: DeviceFlags.RESET | DeviceFlags.PCI, numRegions: NUM_REGIONS, numIrqs: NUM_IRQS };
  }

  /** VFIO_DEVICE_GET_REGION_INFO. @throws VfioError EINVAL */
  regionInfo(index: number): RegionInfo {
    if (!Number.isInteger(index) || index < 0 || index >= NUM_REGIONS) {
      throw new VfioError("EINVAL", `region index ${index}: the device has ${NUM_REGIONS} regions`);
    }
    return (
      this.#regions[index]?.info ?? { index, flags: 0, size: 0, fd: undefined, mmapAreas: [], ioEvents: [] }
    );
  }

  /** VFIO_DEVICE_GET_IRQ_INFO. @throws VfioError EINVAL */
  irqInfo(index: number): IrqInfo {
    return this.irqs.info(index);
  }

  /** VFIO_DEVICE_SET_IRQS. @throws VfioError EINVAL, ENOTTY */
  setIrqs(task: Task, request: SetIrqs): void | Promise<void> {
    return this.irqs.set(task, request);
  }

  /**
   * Reads `count` bytes of region `index` at `offset` into `into[at]` on. Any size and alignment.
   * Synchronous, without a promise and without allocation, unless a reset is under way.
   * @throws VfioError EINVAL outside the region; EIO for a memory BAR while memory is disabled or power is off
   */
  readRegion(
    task: Task,
    index: number,
    offset: number,
    count: number,
    into: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const region = this.#checkAccess(index, offset, count);
    const wait = this.memoryLock.downRead(task);
    if (wait) return wait.then(() => this.#readLocked(task, region, offset, count, into, at));
    this.#readLocked(task, region, offset, count, into, at);
  }

  /**
   * Writes `count` bytes from `from[at]` on to region `index` at `offset`. Any size and alignment.
   * Synchronous, without a promise and without allocation, but for configuration writes that reset the device or
   * change its power state, and while a reset is under way.
   * @throws VfioError EINVAL outside the region; EIO for a memory BAR while memory is disabled or power is off
   */
  writeRegion(
    task: Task,
    index: number,
    offset: number,
    count: number,
    from: Uint8Array,
    at: number,
  ): void | Promise<void> {
    const region = this.#checkAccess(index, offset, count);
    if (index === RegionIndex.CONFIG) return this.#writeConfig(task, offset, from, at, count);
    const wait = this.memoryLock.downRead(task);
    if (wait) return wait.then(() => this.#writeLocked(task, region, offset, count, from, at));
    this.#writeLocked(task, region, offset, count, from, at);
  }

  /** Resets the device. Accepted in every migration state. @throws VfioError EIO, and nothing has changed */
  reset(task: Task, initiator: ResetInitiator = "ioctl"): Promise<void> {
    return resetDevice(this, task, initiator);
  }

  /** A client came: how to reach memory that it maps without a descriptor. */
  connect(memory: ClientMemory | undefined): void {
    this.dma.clientMemory = memory;
  }

  /**
   * The client went (vfio-user: Client Disconnection): its maps, triggers and dirty logging are dropped and an
   * unfinished migration is abandoned. The device keeps its state for the next client.
   */
  async disconnect(task: Task): Promise<void> {
    await this.irqs.disconnect(task);
    await this.dma.disconnect(task);
    if (this.migration?.state === MigrationState.ERROR) await this.reset(task, "disconnect");
    await this.migration?.abandon(task);
  }

  /** Ends the device: no access may follow. */
  async close(task: Task): Promise<void> {
    await this.disconnect(task);
    this.#function.close?.();
    for (const memory of this.#memories) memory?.[Symbol.dispose]();
  }

  // What a reset and a migration do to the function.

  /** Puts the function at its power-on values: for the reset door alone, under memoryLock held for writing. */
  async resetFunction(): Promise<void> {
    await this.#function.reset();
    this.config.reset();
    this.#msixTable?.reset();
    this.irqs.deviceReset();
    this.#applyConfig();
    this.runFunction();
  }

  /** VFIO uAPI, STOP: the device starts nothing, and interrupts nobody. */
  stopFunction(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#function.stop?.();
    this.irqs.hold();
  }

  runFunction(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.irqs.release();
    this.#function.run?.();
  }

  #host(): FunctionHost {
    return {
      name: this.name,
      intx: this.irqs.intx,
      msi: this.irqs.msi,
      msix: this.irqs.msix,
      dma: this.dma,
      memory: (bar) => {
        const memory = this.#memories[bar];
        if (!memory) throw new VfioError("EINVAL", `${this.name}: BAR ${bar} is not declared as memory`);
        return memory.bytes;
      },
    };
  }

  #checkAccess(index: number, offset: number, count: number): Region {
    const region = this.#regions[index];
    if (!region) {
      const size = this.regionInfo(index).size; // tells an index without a region from one that cannot be
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

  #readLocked(task: Task, region: Region, offset: number, count: number, into: Uint8Array, at: number): void {
    try {
      if (region.needsMemory && !this.#memoryEnabled) this.#refuse(region);
      region.handler.read(offset, count, into, at);
    } finally {
      this.memoryLock.upRead(task);
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
      if (region.needsMemory && !this.#memoryEnabled) this.#refuse(region);
      region.handler.write(offset, count, from, at);
    } finally {
      this.memoryLock.upRead(task);
    }
  }

  /** Linux: vfio_pci_core_do_io_rw refuses memory BARs with EIO while __vfio_pci_memory_enabled is false. */
  #refuse(region: Region): never {
    throw new VfioError("EIO", `region ${region.info.index}: memory is disabled, or the device is not in D0`);
  }

  #writeConfig(
    task: Task,
    offset: number,
    from: Uint8Array,
    at: number,
    count: number,
  ): void | Promise<void> {
    // Linux takes memory_lock for writing around whatever can take the BARs away.
    const wait = this.memoryLock.downWrite(task);
    if (wait) {
      const bytes = from.slice(at, at + count); // the caller's buffer is its own again once it has waited
      return wait.then(() => this.#writeConfigLocked(task, offset, bytes, 0, count));
    }
    return this.#writeConfigLocked(task, offset, from, at, count);
  }

  #writeConfigLocked(
    task: Task,
    offset: number,
    from: Uint8Array,
    at: number,
    count: number,
  ): void | Promise<void> {
    const before = this.#powerState();
    let effects = 0;
    try {
      effects = this.config.write(offset, from, at, count);
      if (effects !== 0) this.#applyConfig();
    } finally {
      this.memoryLock.upWrite(task);
    }
    // At most one reset a write: a second would find the function just reset.
    if (effects & ConfigEffect.FLR_PCIE) return this.reset(task, "flr-pcie");
    if (effects & ConfigEffect.FLR_AF) return this.reset(task, "flr-af");
    if (effects & ConfigEffect.POWER_STATE && before === PowerState.D3HOT && this.#resetsOnPowerOn()) {
      return this.reset(task, "power-on");
    }
  }

  /** PCI PM 1.2 §3.2.4: without No_Soft_Reset, a function comes back from D3hot as after a reset. */
  #resetsOnPowerOn(): boolean {
    const { pm } = this.capabilities;
    return pm !== undefined && !pm.noSoftReset && this.#powerState() === PowerState.D0;
  }

  #powerState(): number {
    const { pm } = this.capabilities;
    return pm ? this.config.get16(pm.offset + PciPm.CTRL) & PciPmCtrl.STATE_MASK : PowerState.D0;
  }

  /** Makes the rest of the device follow configuration space. */
  #applyConfig(): void {
    const command = this.config.get16(PciHeader.COMMAND);
    this.#memoryEnabled = (command & PciCommand.MEMORY) !== 0 && this.#powerState() !== PowerState.D3HOT;
    this.irqs.setIntxDisabled((command & PciCommand.INTX_DISABLE) !== 0);
    const { msi, msix } = this.capabilities;
    if (msi?.perVectorMask) this.irqs.setMsiMask(this.config.get32(msi.offset + msi.registers.mask));
    if (msix) {
      const flags = this.config.get16(msix.offset + PciMsix.FLAGS);
      this.irqs.setFunctionMasked((flags & PciMsixFlags.MASKALL) !== 0);
    }
  }
}

/** What a migration stream names its device by. */
function identityOf({ id }: PciDeviceDefinition): DeviceIdentity {
  return {
    vendor: id.vendor,
    device: id.device,
    subsystemVendor: id.subsystemVendor ?? id.vendor,
    subsystemDevice: id.subsystem ?? id.device,
    classCode: id.classCode,
    revision: id.revision ?? 0,
  };
}
