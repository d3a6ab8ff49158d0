import { Latch, Shared, type RwSemaphore, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { IrqTrigger } from "../irq/trigger.js";

/** What happens to a function that nobody uses (Linux: the parameter disable_idle_d3, and what the platform can do). */
export type IdlePower =
  /** It stays in D0. */
  | "D0"
  /** D3hot: registers are kept by a function with No_Soft_Reset, and lost by others. */
  | "D3hot"
  /** D3cold: power is cut, and everything is lost. */
  | "D3cold";

/** What runtime power management needs of its device. */
export interface PoweredDevice {
  readonly name: string;
  readonly memoryLock: RwSemaphore;
  /** @internal */
  zapBars(): void;
  /** The function comes back from `idle`: whatever that loses is reset. */
  resumeFrom(task: Task, idle: IdlePower): Promise<void>;
}

/**
 * Runtime power management (Linux: pm_runtime and vfio_pci_runtime_pm_entry): a function without users is suspended,
 * and resumed by the next one. A client that has it open can let it be suspended meanwhile: low power entry.
 */
export class RuntimePm {
  readonly #users = new Shared("users", 0);
  readonly #suspended = new Shared("suspended", false);
  /** Goes down when the resume that is under way has ended. */
  readonly #resuming = new Shared<Latch | undefined>("resuming", undefined);
  readonly #engaged = new Shared("engaged", false);
  #wakeup: IrqTrigger | undefined;

  constructor(
    private readonly device: PoweredDevice,
    private readonly idle: IdlePower,
  ) {}

  get suspended(): boolean {
    return this.#suspended.value;
  }

  /** A client has asked for low power: its BARs do not answer. */
  get engaged(): boolean {
    return this.#engaged.value;
  }

  /** Linux: pm_runtime_resume_and_get. @throws what the resume failed with (or rejects): nothing was got then */
  get(task: Task): void | Promise<void> {
    this.#users.value++;
    if (this.#suspended.value) return this.#resumeOnce(task);
  }

  /** Linux: pm_runtime_put. Suspends when it was the last. */
  put(): void {
    this.#users.value--;
    // A client that asked for low power gets it, even where unused devices stay in D0 (as with disable_idle_d3).
    if (this.#users.value === 0 && (this.idle !== "D0" || this.#engaged.value)) this.#suspended.value = true;
  }

  /**
   * VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, and with `wakeup` ENTRY_WITH_WAKEUP: the device stays up once woken, and says
   * so. The trigger is the device's from here on.
   * @throws VfioError EINVAL: it is in that state already, or nobody has it open
   */
  async lowPowerEntry(task: Task, wakeup?: IrqTrigger): Promise<void> {
    try {
      using _ = await this.device.memoryLock.write(task);
      this.#engage(wakeup);
    } catch (error) {
      wakeup?.close();
      throw error;
    }
  }

  /** VFIO_DEVICE_FEATURE_LOW_POWER_EXIT. Does nothing for a device that is not in low power. */
  async lowPowerExit(task: Task): Promise<void> {
    if (!this.#engaged.value) return;
    await this.get(task); // before memoryLock: it may reset, and a driver is never called under that lock
    try {
      using _ = await this.device.memoryLock.write(task);
      if (!this.engaged) return; // waking it has ended low power already
      this.#users.value++; // the client's own, which entry had given up
      this.#disengage();
    } finally {
      this.put();
    }
  }

  /** The client's own use ends with its last close, in low power too: it gave its use up on entry. */
  close(): void {
    if (this.#engaged.value) this.#disengage();
    else this.put();
  }

  #engage(wakeup: IrqTrigger | undefined): void {
    if (this.#users.value === 0)
      throw new VfioError("EINVAL", `${this.device.name}: low power entry: it is not open`);
    if (this.#engaged.value) {
      throw new VfioError("EINVAL", `${this.device.name}: low power entry: entered already`);
    }
    this.device.zapBars();
    this.#engaged.value = true;
    this.#wakeup = wakeup;
    this.put();
  }

  /** Who comes meanwhile waits for the same. One whose resume another task's end has cut short resumes anew. */
  async #resumeOnce(task: Task): Promise<void> {
    try {
      while (this.#suspended.value) {
        const others = this.#resuming.value;
        await (others ? others.wait(task) : this.#resumeAlone(task));
      }
    } catch (error) {
      this.#users.value--;
      throw error;
    }
  }

  async #resumeAlone(task: Task): Promise<void> {
    const done = new Latch(1, "runtime-resume");
    this.#resuming.value = done;
    try {
      await this.#resume(task);
    } finally {
      this.#resuming.value = undefined;
      done.countDown();
    }
  }

  async #resume(task: Task): Promise<void> {
    await this.device.resumeFrom(task, this.idle);
    this.#suspended.value = false;
    if (!this.#wakeup) return;
    this.#users.value++; // the client's own, which entry had given up
    this.#wakeup.signal();
    this.#disengage();
  }

  #disengage(): void {
    this.#engaged.value = false;
    this.#wakeup?.close();
    this.#wakeup = undefined;
  }
}
