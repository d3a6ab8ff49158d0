import { EXCLUSIVE } from "./access.js";
import { checkCount } from "./count.js";
import type { Wait } from "./lock.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { Unowned } from "./unowned.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

/**
 * A place where so many tasks wait for each other: none goes on before all are there. It is ready for the next round
 * as soon as the last one has come, who never waits.
 *
 * Whoever is aborted leaves, and is not counted any more: the others go on waiting.
 */
export class Barrier extends Unowned {
  #arrived = 0;
  readonly #waiters = new WaitQueue(this);

  /** @param parties how many tasks a round needs: 1 or more. @throws RangeError for another number */
  constructor(
    readonly parties: number,
    className?: string,
    label?: string,
  ) {
    super(className, label);
    checkCount(parties, 1, "a barrier's parties");
  }

  /** How many wait in the present round. */
  get arrived(): number {
    scheduler?.touching(this, false);
    return this.#arrived;
  }

  /**
   * Goes on when all parties of this round have come. The last one gets `true`, the others `false`: so one of them
   * can do what is to be done once a round.
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  wait(task: Task, options?: AcquireOptions): boolean | Promise<boolean> {
    return scheduler ? this.#arriveToWait(scheduler, task, options) : this.#wait(task, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToWait(by: Scheduler, task: Task, options: AcquireOptions | undefined): Promise<boolean> {
    return arriving(by, () => this.#wait(task, options), task, this, EXCLUSIVE, options, "wait");
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    scheduler?.touching(this, true);
    this.#waiters.remove(waiter);
    this.#arrived--;
  }

  #wait(task: Task, options: AcquireOptions | undefined): boolean | Promise<boolean> {
    if (this.#arrived + 1 === this.parties) {
      this.#arrived = 0;
      this.#waiters.releaseAll();
      return true;
    }
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    this.#arrived++;
    const opened = this.#waiters.enter(new Waiter(task, this, EXCLUSIVE, 0, options));
    return ours(ours(opened).then(() => false));
  }
}
