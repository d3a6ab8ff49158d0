import { Mutex, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import { inTurn } from "../in-turn.js";
import type { DeviceMigration } from "../migration/device-migration.js";
import { powerOn, resetHardware, type ResettableDevice } from "./entry.js";
import { initiators, type InitiatorRules, type ResetInitiator } from "./initiator.js";
import { tryZapAndDownWriteMemoryLock, upWriteMemoryLockFromReset } from "./memory-lock.js";
import type { ResetOutcome } from "./strategy.js";

/** A function in a set. */
export interface DeviceInSet extends ResettableDevice {
  /** Undefined: it cannot be migrated. */
  readonly migration: DeviceMigration | undefined;
  /** Files open on it. */
  readonly openCount: number;
  /** It was used since its last reset. */
  needsReset: boolean;
}

/** What VFIO_DEVICE_GET_PCI_HOT_RESET_INFO tells of one function. */
export interface HotResetInfo {
  readonly name: string;
  /** The core has it. Functions of the bus that it does not have make the bus impossible to reset. */
  readonly owned: boolean;
}

/**
 * The functions that one bus reset hits (Linux: struct vfio_device_set).
 *
 * `lock` comes before every other lock. The memoryLocks of several functions are of one class and are only ever taken
 * by trylock, so that two hot resets cannot wait for each other.
 */
export class DeviceSet {
  /** Linux: dev_set->lock. */
  readonly lock = new Mutex("deviceSet.lock");
  readonly #devices: DeviceInSet[] = [];
  /** Functions on the bus that are not the core's. */
  readonly #foreign: readonly string[];

  /** `foreign`: names of functions on the bus that others drive; with one of them, the bus cannot be reset. */
  constructor(options: { foreign?: readonly string[] } = {}) {
    this.#foreign = options.foreign ?? [];
  }

  /** In the order in which they joined, which is the order of locking. */
  get devices(): readonly DeviceInSet[] {
    return this.#devices;
  }

  /** At registration, before anything can be open. */
  add(device: DeviceInSet): void {
    this.#devices.push(device);
  }

  /** VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: whom a hot reset would hit. */
  hotResetInfo(): readonly HotResetInfo[] {
    return [
      ...this.#devices.map(({ name }) => ({ name, owned: true })),
      ...this.#foreign.map((name) => ({ name, owned: false })),
    ];
  }

  /**
   * VFIO_DEVICE_PCI_HOT_RESET: one bus reset for all functions of the set.
   *
   * Every memoryLock is released before the first migration is touched. Releasing one, then calling its driver while
   * the next one is still held, would close the lock cycle again: from two functions on, the class is the same.
   *
   * @param owned the functions that the caller proves to have open
   * @throws VfioError EINVAL: a function of the bus is not the core's, or not the caller's; EBUSY: a memoryLock is
   *   taken; EAGAIN: a deviceLock is taken; what a function's reset threw (EIO if that is no VfioError)
   */
  async hotReset(task: Task, owned: ReadonlySet<unknown>): Promise<void> {
    const rules: InitiatorRules = initiators["hot-reset"];
    using _ = await this.lock.acquire(task);
    this.#checkResettable(rules);
    await this.#whileAwake(task, "hot-reset", async (outcomes) => {
      for (const device of this.#devices) {
        if (owned.has(device)) continue;
        throw new VfioError(
          "EINVAL",
          `${rules.title}: ${device.name} would be reset, and is not the caller's`,
        );
      }
      await this.#lockAndReset(task, rules, outcomes);
    });
  }

  /**
   * When the last function of the set is closed: a bus reset for those that could not be reset one by one. A bus
   * that cannot be reset is left as it is. Under `lock`. Linux: vfio_pci_dev_set_try_reset.
   */
  async tryReset(task: Task): Promise<void> {
    const rules: InitiatorRules = initiators["last-close"];
    const open = this.#devices.filter(({ openCount }) => openCount > 0).length;
    if (open > 0 || !this.#devices.some(({ needsReset }) => needsReset) || this.#foreign.length > 0) return;
    await this.#whileAwake(task, "last-close", async (outcomes) => {
      try {
        await this.#resetBus(task, rules, outcomes);
      } catch {
        // Nobody is left to tell; needsReset stays, and the next last close tries again.
      }
      for (const device of this.#devices) if (outcomes.of(device).wasReset) device.needsReset = false;
    });
  }

  #checkResettable({ title }: InitiatorRules): void {
    if (this.#foreign.length === 0) return;
    throw new VfioError(
      "EINVAL",
      `${title}: ${this.#foreign.join(", ")} on the same bus is not in the device set`,
    );
  }

  async #lockAndReset(task: Task, rules: InitiatorRules, outcomes: Outcomes): Promise<void> {
    const locked: DeviceInSet[] = [];
    try {
      for (const device of this.#devices) {
        // Waiting for several of them is prone to deadlock: unwind where there is contention.
        if (!tryZapAndDownWriteMemoryLock(device, task)) {
          throw new VfioError("EBUSY", `${rules.title}: the memoryLock of ${device.name} is taken`);
        }
        locked.push(device);
      }
      for (const device of this.#devices) await powerOn(device, task, outcomes.of(device));
      await this.#resetBus(task, rules, outcomes);
    } finally {
      await inTurn(
        ...locked
          .reverse()
          .map((device) => () => upWriteMemoryLockFromReset(device, task, outcomes.of(device))),
      );
    }
  }

  /** Linux: pci_reset_bus. All deviceLocks or none. */
  async #resetBus(task: Task, rules: InitiatorRules, outcomes: Outcomes): Promise<void> {
    const locked: DeviceInSet[] = [];
    try {
      for (const device of this.#devices) {
        if (!device.deviceLock.tryLock(task)) {
          throw new VfioError("EAGAIN", `${rules.title}: ${device.name} is being reset or removed`);
        }
        locked.push(device);
      }
      for (const device of this.#devices) await resetHardware(device, task, rules, outcomes.of(device));
    } finally {
      for (const device of locked.reverse()) device.deviceLock.unlock(task);
    }
  }

  /**
   * Resumes every function (Linux: vfio_pci_dev_set_pm_runtime_get), does `reset`, then lets the drivers follow, when
   * no memoryLock of the set is held any more.
   */
  async #whileAwake(
    task: Task,
    initiator: ResetInitiator,
    reset: (outcomes: Outcomes) => Promise<void>,
  ): Promise<void> {
    const outcomes = new Outcomes(this.#devices, initiator);
    const awake: DeviceInSet[] = [];
    await inTurn(
      async () => {
        for (const device of this.#devices) {
          await device.runtimePm.get(task);
          awake.push(device);
        }
        await reset(outcomes);
      },
      ...this.#devices.map(
        (device) => () => device.strategy.pathDone(device.resetView, task, outcomes.of(device)),
      ),
      () => {
        for (const device of awake) device.runtimePm.put();
      },
    );
  }
}

/** What became of each function of a set. */
class Outcomes {
  readonly #outcomes: ReadonlyMap<DeviceInSet, ResetOutcome>;

  constructor(devices: readonly DeviceInSet[], initiator: ResetInitiator) {
    this.#outcomes = new Map(devices.map((device) => [device, { initiator, wasReset: false }]));
  }

  of(device: DeviceInSet): ResetOutcome {
    return this.#outcomes.get(device)!;
  }
}
