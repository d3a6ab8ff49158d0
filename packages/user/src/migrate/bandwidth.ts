import type { MigrateClock } from "./options.js";

/** Bytes may run ahead by what this time allows, or by one chunk, so that waits are few and not too short. Milliseconds. */
const BURST_MS = 50;

/** A token bucket: bytes flow at a rate on average, and each wait is one sleep. */
export class Bandwidth {
  /** When all that was let through will have been paid for. */
  #paidAt = -Infinity;

  /** @param bytesPerSecond undefined: no limit */
  constructor(
    private readonly bytesPerSecond: number | undefined,
    private readonly clock: MigrateClock,
  ) {}

  /** Waits, if it must, until `bytes` may be sent. @returns undefined where there is nothing to wait for */
  take(bytes: number, signal: AbortSignal | undefined): Promise<void> | undefined {
    if (this.bytesPerSecond === undefined) return undefined;
    const now = this.clock.now();
    const cost = (bytes / this.bytesPerSecond) * 1000;
    this.#paidAt = Math.max(this.#paidAt, now - Math.max(BURST_MS, cost)) + cost;
    const wait = this.#paidAt - now;
    return wait > 0 ? this.clock.sleep(wait, signal) : undefined;
  }
}
