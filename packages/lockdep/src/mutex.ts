import { EXCLUSIVE } from "./access.js";
import { LockError } from "./errors.js";
import { HoldRecord, type Hold } from "./hold.js";
import { Lock, type Wait } from "./lock.js";
import { observer } from "./observer.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

const NOBODY: readonly Task[] = [];

/**
 * A fair mutual-exclusion lock, owned by a task (Linux: struct mutex).
 *
 * Taking it when it is free neither allocates nor yields: `lock` returns a promise only when it has to wait,
 * so the hot path is `const wait = mutex.lock(task); if (wait) await wait;`.
 */
export class Mutex extends Lock {
  override readonly detail = 0;
  #owner: Task | undefined;
  readonly #waiters = new WaitQueue(this);
  /** A mutex has one holder, so one hold serves every acquisition. */
  readonly #hold = new HoldRecord(this);

  get owner(): Task | undefined {
    scheduler?.touching(this, false);
    return this.#owner;
  }

  /**
   * Takes the lock.
   * @throws LockError if `task` holds it already: it would wait for itself.
   * @throws the abort reason, when a signal ends the wait. A lock that is free is taken all the same.
   */
  lock(task: Task, options?: AcquireOptions): void | Promise<void> {
    return scheduler ? this.#arrive(scheduler, task, options) : this.#lock(task, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arrive(by: Scheduler, task: Task, options: AcquireOptions | undefined): Promise<void> {
    return arriving(by, () => this.#lock(task, options), task, this, EXCLUSIVE, options);
  }

  #lock(task: Task, options: AcquireOptions | undefined): void | Promise<void> {
    const subclass = options?.subclass ?? 0;
    if (this.#owner === task) {
      observer?.recursion(task, this, EXCLUSIVE);
      throw new LockError(`${task.name} takes ${this.className}, which it holds already`);
    }
    observer?.acquire(task, this, EXCLUSIVE, subclass, false);
    if (!this.#owner) {
      this.#take(task, subclass, false);
      return;
    }
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    return this.#waiters.enter(new Waiter(task, this, EXCLUSIVE, subclass, options));
  }

  /** Takes the lock if that needs no wait. */
  tryLock(task: Task, options?: AcquireOptions): boolean {
    scheduler?.trying(task, this, EXCLUSIVE);
    if (this.#owner) return false;
    const subclass = options?.subclass ?? 0;
    observer?.acquire(task, this, EXCLUSIVE, subclass, true);
    this.#take(task, subclass, true);
    return true;
  }

  /** Lets go; the first waiter, if any, owns the lock when this returns. @throws LockError if `task` does not hold it. */
  unlock(task: Task): void {
    scheduler?.releasing(task, this, EXCLUSIVE);
    if (this.#owner !== task) {
      observer?.badUnlock(task, this);
      throw new LockError(`${task.name} releases ${this.className}, which it does not hold`);
    }
    if (this.#hold.pins > 0) observer?.releasesPinned(this.#hold);
    task.pop(this.#hold);
    this.#handOver();
  }

  /** The first waiter, if any, is the owner now. */
  #handOver(): void {
    this.#owner = undefined;
    const next = this.#waiters.first;
    if (!next) return;
    this.#waiters.remove(next);
    this.#take(next.task, next.subclass, false);
    next.grant();
  }

  /** Takes the lock for a scope: `using _ = await mutex.acquire(task)`. */
  acquire(task: Task, options?: AcquireOptions): Hold | Promise<Hold> {
    const wait = this.lock(task, options);
    return wait ? ours(wait.then(() => this.#hold)) : this.#hold;
  }

  isHeldBy(task: Task): boolean {
    scheduler?.touching(this, false, task);
    return this.#owner === task;
  }

  override holders(): readonly Task[] {
    scheduler?.touching(this, false);
    return this.#owner ? [this.#owner] : NOBODY;
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    this.unlock(hold.task);
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.remove(waiter);
  }

  /**
   * Lets go, as `unlock` does, of a lock that the task is going to take again before it goes on: that order is checked
   * first. Returns the subclass to take it with. @internal
   */
  surrender(task: Task): number {
    scheduler?.releasing(task, this, EXCLUSIVE);
    if (this.#owner !== task) {
      observer?.badUnlock(task, this);
      throw new LockError(`${task.name} waits with ${this.className}, which it does not hold`);
    }
    const hold = this.#hold;
    const { subclass } = hold;
    if (hold.pins > 0) observer?.releasesPinned(hold);
    task.pop(hold);
    try {
      observer?.acquire(task, this, EXCLUSIVE, subclass, false);
    } catch (error) {
      task.push(hold);
      throw error;
    }
    this.#handOver();
    return subclass;
  }

  /** Who surrendered the lock wants it back: it owns the lock now, or is the last in the queue. @internal */
  reclaim(waiter: Waiter): void {
    waiter.lock = this;
    scheduler?.touching(this, true);
    if (!this.#owner) {
      this.#take(waiter.task, waiter.subclass, false);
      waiter.grant();
      return;
    }
    void this.#waiters.enter(waiter);
  }

  #take(task: Task, subclass: number, trylock: boolean): void {
    this.#owner = task;
    const hold = this.#hold;
    hold.task = task;
    hold.subclass = subclass;
    hold.trylock = trylock;
    task.push(hold);
  }
}
