// Over 300 lines: the list of everything that a device can be asked to do, and what each of it throws. The work is done
// by the parts that this class puts together.

import { Mutex, RwSemaphore, Shared, type Task } from "@vfiokit/lockdep";
import { DmaAddressSpace } from "../dma/address-space.js";
import { VfioError } from "../errno.js";
import type { IrqController, SetIrqs } from "../irq/index.js";
import { heapMemory, type DmaBacking } from "../memory.js";
import { MigrationState } from "../migration/fsm.js";
import type { DeviceMigration } from "../migration/device-migration.js";
import { HandOver } from "../migration/hand-over.js";
import { Migration } from "../migration/machine.js";
import { checkMigrationOps, type MigrationOps } from "../migration/ops.js";
import { SectionMigration } from "../migration/section-migration.js";
import { MsixTable, buildConfigSpace, type Capabilities, type ConfigSpace } from "../pci/index.js";
import { DeviceSet, type DeviceInSet } from "../reset/device-set.js";
import { resetDevice } from "../reset/entry.js";
import type { ResetInitiator } from "../reset/initiator.js";
import { inTurn } from "../in-turn.js";
import { generationStrategy, type ResetDevice, type ResetStrategy } from "../reset/strategy.js";
import type { BarMapping } from "./bar-mapping.js";
import { BarMemories } from "./bar-memories.js";
import { buildIrqs } from "./build-irqs.js";
import { buildRegions } from "./build-regions.js";
import { identityOf, type PciDeviceDefinition } from "./define.js";
import { DeviceControl } from "./device-control.js";
import { deviceState } from "./device-state.js";
import { DeviceFaults, type FaultReport } from "./faults.js";
import { FunctionRunner, type StopReason } from "./function-runner.js";
import type { FunctionHost, PciFunction } from "./function.js";
import { injectError, type InjectableError } from "./inject.js";
import { DeviceFlags, IrqIndex, NUM_IRQS, NUM_REGIONS } from "../uapi.js";
import type { DeviceInfo, IrqInfo, RegionInfo } from "../uapi.js";
import { OpenCount, type OpenOptions } from "./open-count.js";
import type { PciDeviceOptions } from "./options.js";
import { RegionAccess } from "./region-access.js";
import { RuntimePm, type IdlePower } from "./runtime-pm.js";

/**
 * A PCI device as VFIO presents it (Linux: struct vfio_pci_core_device): regions, interrupts, DMA, resets and
 * migration around one `PciFunction`. It knows no transport; a server or a test calls it.
 *
 * The order of locks: docs/architecture.md.
 */
export class PciDevice implements DeviceInSet {
  readonly name: string;
  readonly config: ConfigSpace;
  readonly capabilities: Capabilities;
  readonly irqs: IrqController;
  readonly dma = new DmaAddressSpace();
  /** Linux: vdev->memory_lock. BAR accesses hold it for reading, whatever takes the BARs away for writing. */
  readonly memoryLock = new RwSemaphore("memoryLock");
  /** Linux: device_lock(&pdev->dev). */
  readonly deviceLock = new Mutex("deviceLock");
  readonly set: DeviceSet;
  readonly strategy: ResetStrategy;
  readonly runtimePm: RuntimePm;
  /** Undefined for a device with neither `state` nor migration ops: it cannot be migrated. */
  readonly migration: DeviceMigration | undefined;
  /** The two-phase hand-over to another device. Undefined where `migration` is. */
  readonly handOver: HandOver | undefined;
  /** Hears of what deserves attention and is no error. */
  readonly warn: (message: string) => void;

  /** @internal */
  readonly resetView: ResetDevice;

  readonly #generation = new Shared("generation", 0);
  readonly #needsReset = new Shared("needsReset", false);
  readonly #function: PciFunction;
  readonly #faults: DeviceFaults;
  readonly #runner: FunctionRunner;
  readonly #control: DeviceControl;
  readonly #access: RegionAccess;
  readonly #open = new OpenCount(this);
  readonly #memories: BarMemories;
  readonly #msixTable: MsixTable | undefined;

  /** @throws VfioError EINVAL naming what is wrong with the definition, or with its migration ops */
  constructor(
    readonly definition: PciDeviceDefinition,
    options: PciDeviceOptions = {},
  ) {
    this.name = options.name ?? definition.name;
    this.strategy = options.strategy ?? generationStrategy;
    this.warn = options.warn ?? (() => undefined);
    this.runtimePm = new RuntimePm(this, options.idlePower ?? "D0");
    const built = buildConfigSpace(definition);
    this.config = built.config;
    this.capabilities = built.capabilities;
    const { msix } = built.capabilities;
    this.#msixTable = msix && new MsixTable(msix.vectors, (v, masked) => this.irqs.msix.setMasked(v, masked));
    this.irqs = buildIrqs(definition, built, this.#msixTable);

    this.#memories = new BarMemories(this, built.bars, options.memory ?? heapMemory);
    this.#faults = new DeviceFaults(this.name, { onFault: this.warn, ...options }, () => this.#fail());
    this.#function = definition.create(this.#host());
    this.#runner = new FunctionRunner(this.#function, this.irqs, this.#faults);
    const regions = buildRegions(this.name, this.#function, {
      ...built,
      memories: this.#memories.shared,
      faults: this.#faults,
      msix: msix && this.#msixTable && { capability: msix, table: this.#msixTable },
    });
    this.#control = new DeviceControl(this);
    this.#access = new RegionAccess(this, this.#control, regions);
    this.#control.apply();
    const ops = this.#function.migrationOps ?? this.#sectionMigration();
    if (ops) {
      checkMigrationOps(this.name, ops, options.resetStateOp ?? "warn", this.warn);
      const migration = new Migration(this, ops, this.strategy);
      this.migration = migration;
      this.handOver = new HandOver(this, migration);
      this.resetView = { name: this.name, migration };
    } else this.resetView = { name: this.name, migration: undefined };
    this.set = options.set ?? new DeviceSet();
    this.set.add(this);
  }

  // What a client sees.

  /** VFIO_DEVICE_GET_INFO. */
  info(): DeviceInfo {
    const reset = this.resetWorks ? DeviceFlags.RESET : 0;
    return { flags: reset | DeviceFlags.PCI, numRegions: NUM_REGIONS, numIrqs: NUM_IRQS };
  }

  /** VFIO_DEVICE_GET_REGION_INFO. @throws VfioError EINVAL */
  regionInfo(index: number): RegionInfo {
    return this.#access.info(index);
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
   * Synchronous, without a promise and without allocation, unless a reset or a resume is under way.
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
    return this.#access.read(task, index, offset, count, into, at);
  }

  /**
   * Writes `count` bytes from `from[at]` on to region `index` at `offset`. Any size and alignment.
   * Synchronous, without a promise and without allocation, but for configuration writes that reset the device, and
   * while a reset or a resume is under way.
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
    return this.#access.write(task, index, offset, count, from, at);
  }

  /** Maps a memory-like BAR into this process. @throws VfioError EINVAL: the BAR is not declared as memory */
  mapBar(bar: number): BarMapping {
    return this.#memories.map(bar);
  }

  /** A memory-like BAR as the target of another device's DMA: `other.dma.map(task, { …, backing })`. @throws VfioError EINVAL */
  barBacking(bar: number): DmaBacking {
    return this.#memories.backing(bar);
  }

  /**
   * Resets the device. Accepted in every migration state.
   * @throws VfioError EINVAL, EAGAIN, EIO: nothing has changed; and what the driver's migrationResetState threw
   */
  reset(task: Task, initiator: ResetInitiator = "ioctl"): Promise<void> {
    return resetDevice(this, task, initiator);
  }

  // Clients coming and going.

  /**
   * Drops what is the client's (vfio-user: Client Disconnection): its maps, triggers and dirty logging, and an
   * unfinished migration. The device keeps its state for the next client; what was loaded into it and never run is
   * dropped by a reset. `closeDevice` without a reset does this.
   */
  async disconnect(task: Task): Promise<void> {
    await inTurn(
      () => this.irqs.disconnect(task),
      () => this.dma.disconnect(task),
      () => this.resetView.migration?.abandon(task),
      () => (this.#needsResetWithoutClient() ? this.reset(task, "disconnect") : undefined),
    );
  }

  /** In ERROR, or with an image that nobody will run any more. A hand-over's is still wanted. */
  #needsResetWithoutClient(): boolean {
    const { migration } = this.resetView;
    if (!migration) return false;
    const abandonedImage = migration.imageLoaded && this.handOver?.status().phase === "none";
    return migration.state === MigrationState.ERROR || abandonedImage;
  }

  get openCount(): number {
    return this.#open.count;
  }

  /** What the first open found out. */
  get resetWorks(): boolean {
    return this.#open.resetWorks;
  }

  /**
   * Opens the device as a VFIO file does: the first open tries a reset, unless `options` say otherwise.
   * @throws VfioError EAGAIN: somebody else has its deviceLock; what resuming it from `idlePower` threw
   */
  openDevice(task: Task, options?: OpenOptions): Promise<void> {
    return this.#open.open(task, options);
  }

  /**
   * Closes what `openDevice` opened. The last close drops what is the client's, and tries a reset, unless `options` say
   * otherwise.
   * @throws VfioError EBADF: it is not open
   */
  closeDevice(task: Task, options?: OpenOptions): Promise<void> {
    return this.#open.close(task, options);
  }

  /** Ends the device: no access may follow. */
  async close(task: Task): Promise<void> {
    await inTurn(
      () => this.disconnect(task),
      () => this.#function.close?.(),
      () => this.#memories.close(),
    );
  }

  // The administrator.

  /** The device starts nothing until `resume`. Registers can still be accessed. */
  pause(): void {
    this.#runner.stop("administrator");
  }

  resume(): void {
    this.#runner.run("administrator");
  }

  get paused(): boolean {
    return this.#runner.stopped.has("administrator");
  }

  /** Why the function is stopped, and begins nothing; empty: it runs. */
  get stopped(): ReadonlySet<StopReason> {
    return this.#runner.stopped;
  }

  /** What the device's own code has thrown. */
  get faults(): FaultReport {
    return this.#faults.status();
  }

  /** Counts an exception of the device that nobody caught: for whoever runs the process. */
  countFault(what: string, error: unknown): void {
    this.#faults.escaped(what, error);
  }

  /** Records an error as the hardware would, and tells the client. */
  injectError(error: InjectableError): void {
    injectError(error, this);
  }

  /**
   * The card is pulled out. From now on reads give ones, writes go nowhere, resets fail with ENODEV, and the client is
   * asked to let go (the REQ interrupt).
   */
  async removeBySurprise(task: Task): Promise<void> {
    using _ = await this.memoryLock.write(task);
    this.zapBars();
    this.#access.remove();
    this.pause();
    this.irqs.raise(IrqIndex.REQ);
  }

  get removed(): boolean {
    return this.#access.removed;
  }

  // For the reset entry point, runtime power management, and migration: not in the published types.

  /** How many resets really happened. Only the reset entry point changes it. */
  get generation(): number {
    return this.#generation.value;
  }

  /** @internal */
  set generation(generation: number) {
    this.#generation.value = generation;
  }

  /** It was used since its last reset. Only open, close and the device set change it. */
  get needsReset(): boolean {
    return this.#needsReset.value;
  }

  /** @internal */
  set needsReset(needed: boolean) {
    this.#needsReset.value = needed;
  }

  /** @internal */
  zapBars(): void {
    this.#memories.zap();
  }

  /** @internal */
  withMemory<T>(task: Task, use: () => T): T | Promise<T> {
    return this.#access.withMemory(task, use);
  }

  /** @internal */
  powerOn(): boolean {
    return this.#control.powerOn();
  }

  /** @internal */
  resetFunction(signal: AbortSignal | undefined): void | Promise<void> {
    if (this.removed) throw new VfioError("ENODEV", `${this.name}: the device was removed`);
    return this.#function.reset(signal);
  }

  /** @internal */
  powerOnValues(): void {
    this.config.reset();
    this.#msixTable?.reset();
    this.irqs.deviceReset();
    this.#control.apply();
    this.#faults.reset();
    this.#runner.run("faults");
    this.runFunction();
  }

  /**
   * VFIO uAPI, STOP: the device starts nothing, and interrupts nobody.
   * @internal
   */
  stopFunction(): void {
    this.#runner.stop("migration");
  }

  /** @internal */
  runFunction(): void {
    this.#runner.run("migration");
  }

  /** @internal */
  holdFunction(): void {
    this.#runner.stop("hand-over");
  }

  /** @internal */
  releaseFunction(): void {
    this.#runner.run("hand-over");
  }

  /** @internal */
  async resumeFrom(task: Task, idle: IdlePower): Promise<void> {
    const { pm } = this.capabilities;
    const lost = idle === "D3cold" || (idle === "D3hot" && pm !== undefined && !pm.noSoftReset);
    if (lost) await this.reset(task, "runtime-resume");
  }

  #sectionMigration(): MigrationOps | undefined {
    if (!this.#function.state) return undefined;
    const state = deviceState({
      config: this.config,
      irqs: this.irqs,
      msixTable: this.#msixTable,
      memories: this.#memories.shared,
      device: this.#function.state,
      loaded: () => this.#control.apply(),
    });
    return new SectionMigration(this, identityOf(this.definition), state);
  }

  #host(): FunctionHost {
    return {
      name: this.name,
      intx: this.irqs.intx,
      msi: this.irqs.msi,
      msix: this.irqs.msix,
      dma: this.dma,
      memory: (bar) => this.#memories.bytes(bar),
      guard: (what, callback) => this.#faults.guard(what, callback),
    };
  }

  /** Its code has thrown too often. */
  #fail(): void {
    try {
      this.#runner.stop("faults");
    } catch {
      // It does not stop either, which is counted and told.
    }
    this.irqs.raise(IrqIndex.ERR);
  }
}
