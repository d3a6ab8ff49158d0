import { READ } from "./access.js";
import { checkCount } from "./count.js";
import type { Wait } from "./lock.js";
import { arriving, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { Unowned } from "./unowned.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

/**
 * A count that goes down to zero and stays there: whoever waits goes on then (Linux: a completion that is completed
 * for all, if the count is 1). Waiting for one that is down already needs no promise.
 */
export class Latch extends Unowned {
  #count: number;
  readonly #waiters = new WaitQueue(this);

  /** @param count 0 or more. @throws RangeError for another number */
  constructor(count: number, className?: string, label?: string) {
    super(className, label);
    checkCount(count, 0, "a latch's count");
    this.#count = count;
  }

  get count(): number {
    scheduler?.touching(this, false);
    return this.#count;
  }

  /** At zero, all waiters go on. @throws RangeError if that is below zero: then nothing is counted */
  countDown(by = 1): void {
    checkCount(by, 1, "a latch's step");
    scheduler?.touching(this, true);
    if (by > this.#count)
      throw new RangeError(`${this.className} is at ${this.#count}: ${by} less is below zero`);
    this.#count -= by;
    if (this.#count === 0) this.#waiters.releaseAll();
  }

  /**
   * Goes on when the count is zero.
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  wait(task: Task, options?: AcquireOptions): void | Promise<void> {
    return scheduler ? this.#arriveToWait(scheduler, task, options) : this.#wait(task, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToWait(by: Scheduler, task: Task, options: AcquireOptions | undefined): Promise<void> {
    return arriving(by, () => this.#wait(task, options), task, this, READ, options, "wait");
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.remove(waiter);
  }

  #wait(task: Task, options: AcquireOptions | undefined): void | Promise<void> {
    if (this.#count === 0) return;
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    return this.#waiters.enter(new Waiter(task, this, READ, 0, options));
  }
}
