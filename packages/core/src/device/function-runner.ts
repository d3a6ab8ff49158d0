import type { IrqController } from "../irq/index.js";
import type { PciFunction } from "./function.js";

/** Why a function is stopped: several reasons can hold at a time. */
export type StopReason = "migration" | "administrator";

/** Starts and stops a device's function: while it is stopped it begins nothing and interrupts nobody. */
export class FunctionRunner {
  readonly #reasons = new Set<StopReason>();

  constructor(
    private readonly device: PciFunction,
    private readonly irqs: IrqController,
  ) {}

  get stopped(): ReadonlySet<StopReason> {
    return this.#reasons;
  }

  /** Does nothing if it is stopped for that reason already. */
  stop(reason: StopReason): void {
    const wasRunning = this.#reasons.size === 0;
    this.#reasons.add(reason);
    if (!wasRunning) return;
    this.device.stop?.();
    this.irqs.hold();
  }

  /** Does nothing if it is not stopped for that reason. */
  run(reason: StopReason): void {
    if (!this.#reasons.delete(reason) || this.#reasons.size > 0) return;
    this.irqs.release();
    this.device.run?.();
  }
}
