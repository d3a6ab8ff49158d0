import { E_CANCELED } from "./errors.js";
import { TAKE, type Request, type SemaphoreInterface, type Takeable, type Ticket } from "./types.js";
import { acquire, checkWeight, exclusively, WeightedLock } from "./weighted-lock.js";

/** async-mutex's Semaphore, checked by the validator if it is made with the value 1. */
export class Semaphore implements SemaphoreInterface, Takeable {
  readonly #lock: WeightedLock;

  constructor(value: number, cancelError: Error = E_CANCELED) {
    this.#lock = new WeightedLock(value, cancelError, this, new.target);
  }

  acquire(weight = 1, priority = 0): Promise<Ticket> {
    checkWeight(weight);
    return acquire(this.#lock, weight, priority);
  }

  runExclusive<T>(callback: SemaphoreInterface.Worker<T>, weight = 1, priority = 0): Promise<T> {
    return exclusively(this.#lock, callback, weight, priority);
  }

  [TAKE](request: Request): Promise<Ticket> {
    return this.#lock[TAKE](request);
  }

  waitForUnlock(weight = 1, priority = 0): Promise<void> {
    return this.#lock.waitForUnlock(weight, priority);
  }

  isLocked(): boolean {
    return this.#lock.value <= 0;
  }

  getValue(): number {
    return this.#lock.value;
  }

  setValue(value: number): void {
    this.#lock.value = value;
  }

  release(weight = 1): void {
    this.#lock.give(weight);
  }

  cancel(): void {
    this.#lock.cancel();
  }
}
