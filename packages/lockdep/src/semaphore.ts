import { EXCLUSIVE } from "./access.js";
import { checkCount } from "./count.js";
import { LockError } from "./errors.js";
import { HoldRecord, type Hold } from "./hold.js";
import { Lock, type Wait } from "./lock.js";
import { observer } from "./observer.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import { Task } from "./task.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

/** Permits that a task holds. */
class PermitHold extends HoldRecord {
  permits = 0;
}

class PermitWaiter extends Waiter {
  constructor(
    task: Task,
    semaphore: Semaphore,
    subclass: number,
    options: AcquireOptions | undefined,
    readonly permits: number,
    /** The task is to hold the permits; else they are used up. */
    readonly owned: boolean,
  ) {
    super(task, semaphore, EXCLUSIVE, subclass, options);
  }
}

/**
 * A fair counting semaphore. It is used in one of two ways:
 *
 * - as a limit: `acquire` makes the task the holder of so many permits, and `release` gives them back. Such permits
 *   are a lock to the validator: it checks the order in which they are taken among other locks, reports who ends with
 *   some, and sees a hang. A task that holds some and waits for more of the same class is reported as a recursion:
 *   two of them can have all permits between them. Take all that you need at once.
 * - as a signal: `post` adds permits, and `consume` uses them up. Nobody holds those, and the validator has no
 *   opinion about them.
 *
 * First come, first served: a request for few permits does not overtake one for many. What is free is taken without
 * a promise and without an allocation. Release, post and an abort act at once: the waiters whose turn it is hold
 * their permits when the call returns, before they run.
 */
export class Semaphore extends Lock {
  #free: number;
  /** Permits in all: free, and held. */
  #total: number;
  /** Somebody adds permits: whoever waits need not wait for a holder. */
  #isSignal = false;
  readonly #holds: PermitHold[] = [];
  readonly #pool: PermitHold[] = [];
  readonly #waiters = new WaitQueue<PermitWaiter>(this);

  /** @param permits that are free at the start: 0 or more. @throws RangeError for another number */
  constructor(permits: number, className?: string, label?: string) {
    super(className, label);
    checkCount(permits, 0, "a semaphore's permits");
    this.#free = permits;
    this.#total = permits;
  }

  /** Permits that nobody holds. */
  get free(): number {
    scheduler?.touching(this, false);
    return this.#free;
  }

  /**
   * Takes permits, all at once, and holds them: `using _ = await semaphore.acquire(task, 2)`.
   * @throws RangeError unless `permits` is a whole number, 1 or more
   * @throws LockError if `task` would wait for permits that it holds itself.
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  acquire(task: Task, permits = 1, options?: AcquireOptions): Hold | Promise<Hold> {
    checkCount(permits, 1, "permits");
    return scheduler
      ? this.#arriveToAcquire(scheduler, task, permits, options)
      : this.#acquire(task, permits, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToAcquire(by: Scheduler, task: Task, permits: number, options?: AcquireOptions): Promise<Hold> {
    const take = (): Hold | Promise<Hold> => this.#acquire(task, permits, options);
    return arriving(by, take, task, this, EXCLUSIVE, options, "acquire");
  }

  /** As `acquire`, if that needs no wait: if so many are free, and nobody is in the queue. */
  tryAcquire(task: Task, permits = 1, options?: AcquireOptions): Hold | undefined {
    checkCount(permits, 1, "permits");
    scheduler?.trying(task, this, EXCLUSIVE);
    if (!this.#isFree(permits)) return undefined;
    const subclass = options?.subclass ?? 0;
    observer?.acquire(task, this, EXCLUSIVE, subclass, true);
    return this.#take(task, permits, subclass, true);
  }

  /**
   * Gives permits back that `task` holds, those that it got last first.
   * @throws LockError if it does not hold so many
   */
  release(task: Task, permits?: number): void;
  /** @internal */
  release(hold: HoldRecord): void;
  override release(holder: Task | HoldRecord, permits = 1): void {
    if (holder instanceof Task) {
      checkCount(permits, 1, "permits");
      this.#releasePermits(holder, permits);
    } else this.#releaseHold(holder as PermitHold);
    this.#wake();
  }

  /** Adds permits, which nobody needs to have held: a signal to those who `consume`. */
  post(permits = 1): void {
    checkCount(permits, 1, "permits");
    scheduler?.touching(this, true);
    this.#isSignal = true;
    this.#free += permits;
    this.#total += permits;
    this.#wake();
  }

  /**
   * Takes permits, all at once, and uses them up.
   * @throws RangeError unless `permits` is a whole number, 1 or more
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  consume(task: Task, permits = 1, options?: AcquireOptions): void | Promise<void> {
    checkCount(permits, 1, "permits");
    return scheduler
      ? this.#arriveToConsume(scheduler, task, permits, options)
      : this.#consume(task, permits, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToConsume(by: Scheduler, task: Task, permits: number, options?: AcquireOptions): Promise<void> {
    const take = (): void | Promise<void> => this.#consume(task, permits, options);
    return arriving(by, take, task, this, EXCLUSIVE, options, "consume");
  }

  /** As `consume`, if that needs no wait. */
  tryConsume(task: Task, permits = 1): boolean {
    checkCount(permits, 1, "permits");
    scheduler?.trying(task, this, EXCLUSIVE);
    if (!this.#isFree(permits)) return false;
    this.#useUp(permits);
    return true;
  }

  /** How many permits `task` holds. */
  heldBy(task: Task): number {
    return this.#holds.reduce((sum, hold) => (hold.task === task ? sum + hold.permits : sum), 0);
  }

  override holders(): readonly Task[] {
    scheduler?.touching(this, false);
    return this.#holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /**
   * Can the wait end, if those who are `stuck` never release? Everybody ahead in the queue has a turn before.
   * @internal
   */
  override canEnd(waiter: Waiter, stuck: (task: Task) => boolean): boolean {
    if (this.#isSignal) return true;
    const freed = this.#holds.reduce(
      (sum, hold) => (stuck(hold.task) ? sum : sum + hold.permits),
      this.#free,
    );
    for (const each of this.#waiters) {
      if (each.permits > freed) return false;
      if (each === waiter) break;
    }
    return true;
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.remove(waiter as PermitWaiter);
    this.#wake(); // those behind one that wanted many
  }

  #isFree(permits: number): boolean {
    return permits <= this.#free && !this.#waiters.first;
  }

  #acquire(task: Task, permits: number, options: AcquireOptions | undefined): Hold | Promise<Hold> {
    const subclass = options?.subclass ?? 0;
    const free = this.#isFree(permits);
    if (!free && !this.#isSignal && task.find(this) && permits > this.#total - this.heldBy(task)) {
      observer?.recursion(task, this, EXCLUSIVE);
      throw new LockError(
        `${task.name} wants ${permits} of ${this.className}, of whose ${this.#total} it holds ${this.heldBy(task)} already`,
      );
    }
    observer?.acquire(task, this, EXCLUSIVE, subclass, false);
    if (free) return this.#take(task, permits, subclass, false);
    const waiter = this.#queue(task, permits, subclass, options, true);
    return ours(waiter.then(() => task.find(this)!));
  }

  #consume(task: Task, permits: number, options: AcquireOptions | undefined): void | Promise<void> {
    if (this.#isFree(permits)) {
      this.#useUp(permits);
      return;
    }
    return this.#queue(task, permits, 0, options, false);
  }

  #queue(
    task: Task,
    permits: number,
    subclass: number,
    options: AcquireOptions | undefined,
    owned: boolean,
  ): Promise<void> {
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    return this.#waiters.enter(new PermitWaiter(task, this, subclass, options, permits, owned));
  }

  #wake(): void {
    for (let next = this.#waiters.first; next && next.permits <= this.#free; next = this.#waiters.first) {
      this.#waiters.remove(next);
      if (next.owned) this.#take(next.task, next.permits, next.subclass, false);
      else {
        observer?.abandoned(next); // the wait is over, and nothing is held
        this.#useUp(next.permits);
      }
      next.grant();
    }
  }

  #take(task: Task, permits: number, subclass: number, trylock: boolean): PermitHold {
    const hold = this.#pool.pop() ?? new PermitHold(this);
    hold.task = task;
    hold.permits = permits;
    hold.subclass = subclass;
    hold.trylock = trylock;
    this.#free -= permits;
    this.#holds.push(hold);
    task.push(hold);
    return hold;
  }

  #useUp(permits: number): void {
    this.#free -= permits;
    this.#total -= permits;
  }

  #releasePermits(task: Task, permits: number): void {
    scheduler?.releasing(task, this, EXCLUSIVE);
    if (this.heldBy(task) < permits) {
      observer?.badUnlock(task, this);
      throw new LockError(
        `${task.name} releases ${permits} of ${this.className}, of which it holds ${this.heldBy(task)}`,
      );
    }
    for (let left = permits; left > 0;) {
      const hold = task.find(this) as PermitHold;
      if (hold.pins > 0) observer?.releasesPinned(hold);
      const part = Math.min(left, hold.permits);
      left -= part;
      hold.permits -= part;
      this.#free += part;
      if (hold.permits === 0) this.#drop(hold);
    }
  }

  #releaseHold(hold: PermitHold): void {
    scheduler?.releasing(hold.task, this, EXCLUSIVE);
    if (!this.#holds.includes(hold)) {
      observer?.badUnlock(hold.task, this);
      throw new LockError(`${hold.task.name} releases ${this.className}, which it does not hold`);
    }
    if (hold.pins > 0) observer?.releasesPinned(hold);
    this.#free += hold.permits;
    this.#drop(hold);
  }

  #drop(hold: PermitHold): void {
    const at = this.#holds.indexOf(hold);
    this.#holds[at] = this.#holds[this.#holds.length - 1]!;
    this.#holds.pop();
    hold.task.pop(hold);
    this.#pool.push(hold);
  }
}
