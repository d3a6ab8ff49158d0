import { Shared } from "@vfiokit/lockdep";
import type { IrqController } from "../irq/index.js";
import type { DeviceFaults } from "./faults.js";
import type { PciFunction } from "./function.js";

/** Why a function is stopped: several reasons can hold at a time. */
export type StopReason = "migration" | "hand-over" | "administrator" | "faults";

/** Starts and stops a device's function: while it is stopped it begins nothing and interrupts nobody. */
export class FunctionRunner {
  readonly #reasons = new Shared<ReadonlySet<StopReason>>("stopped", new Set());

  constructor(
    private readonly device: PciFunction,
    private readonly irqs: IrqController,
    private readonly faults: DeviceFaults,
  ) {}

  get stopped(): ReadonlySet<StopReason> {
    return this.#reasons.value;
  }

  /** Does nothing if it is stopped for that reason already. If the device cannot stop, it is not stopped. */
  stop(reason: StopReason): void {
    if (this.#reasons.value.size === 0) {
      this.#call("stop");
      this.irqs.hold();
    }
    this.#reasons.value = new Set([...this.#reasons.value, reason]);
  }

  /** Does nothing if it is not stopped for that reason. If the device cannot run, it is still stopped. */
  run(reason: StopReason): void {
    if (!this.#reasons.value.has(reason)) return;
    if (this.#reasons.value.size === 1) {
      this.#call("run");
      this.irqs.release();
    }
    this.#reasons.value = new Set([...this.#reasons.value].filter((other) => other !== reason));
  }

  #call(method: "stop" | "run"): void {
    try {
      this.faults.watch(method, this.device[method]?.());
    } catch (error) {
      throw this.faults.caught(method, error);
    }
  }
}
