import { E_CANCELED } from "./errors.js";
import { TAKE, type MutexInterface, type Request, type Takeable, type Ticket } from "./types.js";
import { acquire, exclusively, WeightedLock } from "./weighted-lock.js";

/** async-mutex's Mutex, checked by the validator. */
export class Mutex implements MutexInterface, Takeable {
  readonly #lock: WeightedLock;

  constructor(cancelError: Error = E_CANCELED) {
    this.#lock = new WeightedLock(1, cancelError, this, new.target);
  }

  async acquire(priority = 0): Promise<MutexInterface.Releaser> {
    const [, release] = await acquire(this.#lock, 1, priority);
    return release;
  }

  runExclusive<T>(callback: MutexInterface.Worker<T>, priority = 0): Promise<T> {
    return exclusively(this.#lock, () => callback(), 1, priority);
  }

  [TAKE](request: Request): Promise<Ticket> {
    return this.#lock[TAKE](request);
  }

  waitForUnlock(priority = 0): Promise<void> {
    return this.#lock.waitForUnlock(1, priority);
  }

  isLocked(): boolean {
    return this.#lock.value <= 0;
  }

  /** Unlocks it, whoever holds it; a mutex that is not locked stays so. */
  release(): void {
    if (this.isLocked()) this.#lock.give(1);
  }

  cancel(): void {
    this.#lock.cancel();
  }
}
