import { Shared, type Task } from "@vfiokit/lockdep";
import type { DmaAddressSpace } from "../dma/address-space.js";
import { Errno, VfioError, errnoOf } from "../errno.js";
import { inTurn } from "../in-turn.js";
import type { IrqController } from "../irq/index.js";
import type { DeviceSet } from "../reset/device-set.js";
import type { ResetInitiator } from "../reset/initiator.js";
import type { ResetDevice } from "../reset/strategy.js";
import type { RuntimePm } from "./runtime-pm.js";

/** What opening and closing needs of its device. */
interface OpenableDevice {
  readonly name: string;
  readonly set: DeviceSet;
  readonly irqs: IrqController;
  readonly dma: DmaAddressSpace;
  /** @internal */
  readonly resetView: ResetDevice;
  readonly runtimePm: RuntimePm;
  readonly generation: number;
  needsReset: boolean;
  /** @internal */
  zapBars(): void;
  reset(task: Task, initiator: ResetInitiator): Promise<void>;
  disconnect(task: Task): Promise<void>;
}

/** How a device is opened and closed. */
export interface OpenOptions {
  /**
   * The first open and the last close try to reset the device, as Linux does. Default: true. Without it the device
   * keeps its state from one client to the next.
   */
  readonly reset?: boolean;
}

/** Opens and closes a device as VFIO files do, under its set's lock (Linux: vfio_pci_core_enable and _disable). */
export class OpenCount {
  readonly #count = new Shared("openCount", 0);
  readonly #resetWorks = new Shared("resetWorks", true);

  constructor(private readonly device: OpenableDevice) {}

  get count(): number {
    return this.#count.value;
  }

  /** What the first open found out. */
  get resetWorks(): boolean {
    return this.#resetWorks.value;
  }

  async open(task: Task, { reset = true }: OpenOptions = {}): Promise<void> {
    const { set, runtimePm } = this.device;
    using _ = await set.lock.acquire(task);
    if (this.#count.value === 0) {
      await runtimePm.get(task);
      try {
        if (reset) await this.#enable(task);
      } catch (error) {
        runtimePm.put();
        throw error;
      }
    }
    this.#count.value++;
  }

  async close(task: Task, { reset = true }: OpenOptions = {}): Promise<void> {
    const { set, resetView, runtimePm, name } = this.device;
    using _ = await set.lock.acquire(task);
    if (this.#count.value === 0) throw new VfioError("EBADF", `${name}: close: it is not open`);
    if (--this.#count.value > 0) return;
    if (!reset) {
      this.device.zapBars();
      await inTurn(
        () => this.device.disconnect(task),
        () => runtimePm.lowPowerExit(task),
        () => runtimePm.close(),
      );
      return;
    }
    await inTurn(
      () => resetView.migration?.abandon(task), // Linux: the driver's close_device
      () => this.#disable(task),
    );
  }

  /** Tries a reset: what it finds decides whether the client is offered one. */
  async #enable(task: Task): Promise<void> {
    const { device } = this;
    const before = device.generation;
    try {
      await device.reset(task, "enable");
    } catch (error) {
      // Somebody else is at the device, nobody wants it any more, or the reset worked and its driver failed afterwards.
      const cancelled = task.signal?.aborted === true;
      if (cancelled || errnoOf(error) === Errno.EAGAIN || device.generation !== before) throw error;
    }
    this.#resetWorks.value = device.generation !== before;
    device.needsReset = true;
  }

  async #disable(task: Task): Promise<void> {
    const { device } = this;
    device.zapBars();
    await inTurn(
      () => device.irqs.disconnect(task),
      () => device.dma.disconnect(task),
      () => device.runtimePm.lowPowerExit(task),
      () => (this.#resetWorks.value ? this.#reset(task) : undefined),
      () => device.set.tryReset(task),
      () => device.runtimePm.close(),
    );
  }

  /** Nobody is left to hear of a failure: `needsReset` stays, and the set's last close tries a bus reset. */
  async #reset(task: Task): Promise<void> {
    const { device } = this;
    const before = device.generation;
    try {
      await device.reset(task, "disable");
    } catch {
      // See above.
    }
    if (device.generation !== before) device.needsReset = false;
  }
}
