import { EXCLUSIVE, READ, READ_RECURSIVE, type Access } from "./access.js";
import { LockError } from "./errors.js";
import { HoldRecord, type Hold } from "./hold.js";
import { Lock, type Wait } from "./lock.js";
import { observer } from "./observer.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

export interface ReadOptions extends AcquireOptions {
  /**
   * Do not queue behind a writer that only waits, so that a task which reads already may read again.
   * Starves writers where it is common. Default false.
   */
  readonly recursive?: boolean;
}

/**
 * A fair reader-writer lock, owned by tasks (Linux: struct rw_semaphore).
 *
 * First come, first served: a reader that arrives behind a waiting writer waits, so that writers never starve.
 * Taking it without contention neither allocates nor yields.
 */
export class RwSemaphore extends Lock {
  override readonly detail = 1;
  #writer: Task | undefined;
  /** The holds in force: one of the writer, or any number of readers'. */
  readonly #holds: HoldRecord[] = [];
  readonly #waiters = new WaitQueue(this);
  readonly #pool: HoldRecord[] = [];

  /**
   * Takes the lock for reading.
   * @throws LockError if `task` would wait for itself: it holds the lock for writing, or reads it while a writer waits.
   * @throws the abort reason, when a signal ends the wait. A lock that is free is taken all the same.
   */
  downRead(task: Task, options?: ReadOptions): void | Promise<void> {
    return this.#down(task, options?.recursive ? READ_RECURSIVE : READ, options);
  }

  /** Takes the lock for reading if that needs no wait. */
  tryDownRead(task: Task, options?: ReadOptions): boolean {
    return this.#tryDown(task, options?.recursive ? READ_RECURSIVE : READ, options);
  }

  /** @throws LockError if `task` does not hold the lock for reading. */
  upRead(task: Task): void {
    this.release(this.#held(task, "read"));
  }

  /**
   * Takes the lock for writing.
   * @throws LockError if `task` holds it already: it would wait for itself.
   * @throws the abort reason, when a signal ends the wait. A lock that is free is taken all the same.
   */
  downWrite(task: Task, options?: AcquireOptions): void | Promise<void> {
    return this.#down(task, EXCLUSIVE, options);
  }

  /** Takes the lock for writing if that needs no wait. */
  tryDownWrite(task: Task, options?: AcquireOptions): boolean {
    return this.#tryDown(task, EXCLUSIVE, options);
  }

  /** @throws LockError if `task` does not hold the lock for writing. */
  upWrite(task: Task): void {
    this.release(this.#held(task, "write"));
  }

  /** Turns a write hold into a read hold without letting a writer in between. @throws LockError if there is none. */
  downgradeWrite(task: Task): void {
    const hold = this.#held(task, "write");
    scheduler?.releasing(task, this, EXCLUSIVE);
    hold.mode = "read";
    this.#writer = undefined;
    observer?.downgraded(hold);
    this.#wake();
  }

  /** Takes the lock for reading, for a scope: `using _ = await memoryLock.read(task)`. */
  read(task: Task, options?: ReadOptions): Hold | Promise<Hold> {
    const wait = this.downRead(task, options);
    return wait ? ours(wait.then(() => this.#held(task, "read"))) : this.#held(task, "read");
  }

  /** Takes the lock for writing, for a scope: `using _ = await memoryLock.write(task)`. */
  write(task: Task, options?: AcquireOptions): Hold | Promise<Hold> {
    const wait = this.downWrite(task, options);
    return wait ? ours(wait.then(() => this.#held(task, "write"))) : this.#held(task, "write");
  }

  isHeldBy(task: Task, mode?: "read" | "write"): boolean {
    scheduler?.touching(this, false, task);
    return task.find(this, mode) !== undefined;
  }

  override holders(): readonly Task[] {
    scheduler?.touching(this, false);
    return this.#holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    scheduler?.touching(this, false);
    return Array.from(this.#waiters, ({ task, since, access }) => ({
      task,
      since,
      mode: access === EXCLUSIVE ? "write" : "read",
    }));
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    scheduler?.releasing(hold.task, this, hold.access);
    const at = this.#holds.indexOf(hold);
    if (at < 0) {
      observer?.badUnlock(hold.task, this);
      throw new LockError(`${hold.task.name} releases ${this.className}, which it does not hold`);
    }
    if (hold.pins > 0) observer?.releasesPinned(hold);
    this.#holds[at] = this.#holds[this.#holds.length - 1]!;
    this.#holds.pop();
    if (hold.mode === "write") this.#writer = undefined;
    hold.task.pop(hold);
    this.#pool.push(hold);
    this.#wake();
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.remove(waiter);
    this.#wake(); // the readers behind a writer that gave up
  }

  #isFree(access: Access): boolean {
    if (access === READ_RECURSIVE) return !this.#writer;
    if (this.#waiters.first) return false;
    return access === READ ? !this.#writer : this.#holds.length === 0;
  }

  #tryDown(task: Task, access: Access, options: AcquireOptions | undefined): boolean {
    scheduler?.trying(task, this, access);
    if (!this.#isFree(access)) return false;
    const subclass = options?.subclass ?? 0;
    observer?.acquire(task, this, access, subclass, true);
    this.#take(task, access, subclass, true);
    return true;
  }

  #down(task: Task, access: Access, options: AcquireOptions | undefined): void | Promise<void> {
    return scheduler ? this.#arrive(scheduler, task, access, options) : this.#downNow(task, access, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arrive(by: Scheduler, task: Task, access: Access, options: AcquireOptions | undefined): Promise<void> {
    return arriving(by, () => this.#downNow(task, access, options), task, this, access, options);
  }

  #downNow(task: Task, access: Access, options: AcquireOptions | undefined): void | Promise<void> {
    const subclass = options?.subclass ?? 0;
    const free = this.#isFree(access);
    if (!free && task.find(this)) {
      observer?.recursion(task, this, access);
      throw new LockError(
        `${task.name} takes ${this.className} for ${access === EXCLUSIVE ? "writing" : "reading"}, which it holds already`,
      );
    }
    observer?.acquire(task, this, access, subclass, false);
    if (free) {
      this.#take(task, access, subclass, false);
      return;
    }
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    return this.#waiters.enter(new Waiter(task, this, access, subclass, options));
  }

  /** Hands the lock to those who may have it now, in the order of their arrival. */
  #wake(): void {
    for (let next = this.#waiters.first; next && !this.#writer; next = this.#waiters.first) {
      if (next.access === EXCLUSIVE && this.#holds.length > 0) break;
      this.#hand(next);
    }
    // Recursive readers wait for a writer that holds the lock, and for nobody else's place in the queue.
    for (let w = this.#waiters.first; w && !this.#writer; w = w.next) {
      if (w.access === READ_RECURSIVE) this.#hand(w);
    }
  }

  #hand(waiter: Waiter): void {
    this.#waiters.remove(waiter);
    this.#take(waiter.task, waiter.access, waiter.subclass, false);
    waiter.grant();
  }

  #take(task: Task, access: Access, subclass: number, trylock: boolean): void {
    const hold = this.#pool.pop() ?? new HoldRecord(this);
    hold.task = task;
    hold.mode = access === EXCLUSIVE ? "write" : "read";
    hold.recursive = access === READ_RECURSIVE;
    hold.subclass = subclass;
    hold.trylock = trylock;
    if (access === EXCLUSIVE) this.#writer = task;
    this.#holds.push(hold);
    task.push(hold);
  }

  #held(task: Task, mode: "read" | "write"): HoldRecord {
    const hold = task.find(this, mode);
    if (hold) return hold;
    observer?.badUnlock(task, this);
    throw new LockError(
      `${task.name} does not hold ${this.className} for ${mode === "read" ? "reading" : "writing"}`,
    );
  }
}
