import { EXCLUSIVE } from "./access.js";
import type { Wait } from "./lock.js";
import type { Mutex } from "./mutex.js";
import { observer } from "./observer.js";
import { ours, scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { Unowned } from "./unowned.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

class ConditionWaiter extends Waiter {
  /** Why the wait ended, unless it was notified. */
  failure: { readonly reason: unknown } | undefined;
  #notified = false;

  constructor(
    task: Task,
    private readonly condition: ConditionVariable,
    private readonly mutex: Mutex,
    subclass: number,
    options: AcquireOptions | undefined,
  ) {
    super(task, condition, EXCLUSIVE, subclass, options);
  }

  /** Aborted, or out of time: the task goes on with the mutex all the same. */
  override fail(reason: unknown): void {
    if (this.#notified) {
      super.fail(reason);
      return;
    }
    this.failure = { reason };
    this.condition.abandon(this);
    this.wake();
  }

  /** From the condition's queue to the mutex, and nothing ends the wait for that one. */
  wake(): void {
    this.#notified = true;
    this.deafen();
    const { pending } = this.task;
    observer?.abandoned(this); // this wait is over; the order of the next was checked when it began
    this.task.pending = pending;
    this.mutex.reclaim(this);
  }
}

/**
 * A condition variable: a task that holds a mutex waits, without the mutex, until another one says that something has
 * changed (POSIX: pthread_cond_t).
 *
 * - `wait` enters the queue and releases the mutex at once, in the piece of its caller: there is no gap in which a
 *   `notify` could get lost.
 * - `notify` takes the first waiter out of the queue and, in the same piece, hands the mutex to it, or puts it at the
 *   end of the mutex's queue. An abort or the end of the time limit does the same, and the wait then fails with the
 *   mutex held. A waiter that was notified cannot be aborted any more.
 * - There are no spurious wake-ups. Still, others may have had the mutex between the `notify` and the end of the wait,
 *   so the condition is to be looked at again: `while (!ready) await changed.wait(task, mutex)`.
 */
export class ConditionVariable extends Unowned {
  readonly #waiters = new WaitQueue<ConditionWaiter>(this);

  /**
   * Releases `mutex` and waits to be notified. The task holds the mutex again when the promise settles, whether well
   * or not; `options.subclass` is that of the present hold.
   * @throws LockError if `task` does not hold `mutex`
   * @throws the abort reason, when a signal ends the wait; at once, and without a release, if it is aborted already
   * @throws LockTimeout when the time limit ends the wait
   */
  wait(task: Task, mutex: Mutex, options?: Omit<AcquireOptions, "subclass">): Promise<void> {
    scheduler?.touching(this, true);
    scheduler?.touching(mutex, true);
    const aborted = abortedBy(task, options?.signal);
    if (aborted && mutex.isHeldBy(task)) return Promise.reject(aborted.reason as Error);
    const waiter = new ConditionWaiter(task, this, mutex, mutex.surrender(task), options);
    void this.#waiters.enter(waiter);
    return ours(ended(waiter));
  }

  /** Wakes the one who has waited longest, if anybody waits. */
  notify(): void {
    scheduler?.touching(this, true);
    const first = this.#waiters.first;
    if (first) this.#wake(first);
  }

  /** Wakes all who wait now, first come first. */
  notifyAll(): void {
    scheduler?.touching(this, true);
    for (const waiter of [...this.#waiters]) this.#wake(waiter);
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    scheduler?.touching(this, true);
    this.#waiters.remove(waiter as ConditionWaiter);
  }

  #wake(waiter: ConditionWaiter): void {
    this.#waiters.remove(waiter);
    waiter.wake();
  }
}

async function ended(waiter: ConditionWaiter): Promise<void> {
  await ours(waiter.promise);
  if (waiter.failure) throw waiter.failure.reason;
}
