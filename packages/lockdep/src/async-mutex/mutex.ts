import { ambientTask } from "../node/index.js";
import { Task } from "../task.js";
import { exclusively, Semaphore } from "./semaphore.js";
import { TAKE, type MutexInterface, type Releaser, type Request, type Takeable } from "./types.js";

/** async-mutex's Mutex, checked by the validator. */
export class Mutex implements MutexInterface, Takeable {
  readonly #semaphore: Semaphore;

  constructor(cancelError?: Error) {
    this.#semaphore = new Semaphore(1, cancelError);
  }

  async acquire(priority = 0): Promise<Releaser> {
    const task = ambientTask() ?? new Task("acquire()");
    const [, release] = await this[TAKE]({ task, weight: 1, priority });
    return release;
  }

  runExclusive<T>(callback: () => Promise<T> | T, priority = 0): Promise<T> {
    return exclusively(this, () => callback(), 1, priority);
  }

  [TAKE](request: Request): Promise<[number, Releaser]> {
    return this.#semaphore[TAKE](request);
  }

  waitForUnlock(priority = 0): Promise<void> {
    return this.#semaphore.waitForUnlock(1, priority);
  }

  isLocked(): boolean {
    return this.#semaphore.isLocked();
  }

  /** Unlocks it, whoever holds it; a mutex that is not locked stays so. */
  release(): void {
    if (this.#semaphore.isLocked()) this.#semaphore.release();
  }

  cancel(): void {
    this.#semaphore.cancel();
  }
}
