import { LockError } from "./errors.js";
import type { Hold, HoldMode } from "./hold.js";
import type { Task } from "./task.js";
import { Waiter } from "./wait-queue.js";

class RwHold implements Hold {
  task!: Task;
  mode: HoldMode = "read";
  constructor(readonly lock: RwSemaphore) {}
  [Symbol.dispose](): void {
    if (this.mode === "write") this.lock.upWrite(this.task);
    else this.lock.upRead(this.task);
  }
}

/**
 * A fair reader-writer lock, owned by tasks (Linux: struct rw_semaphore).
 *
 * First come, first served: a reader that arrives behind a waiting writer waits, so that writers never starve.
 * Taking it without contention neither allocates nor yields.
 */
export class RwSemaphore {
  #readers = 0;
  #writer: Task | undefined;
  #waiters: Waiter[] = [];
  readonly #pool: RwHold[] = [];

  constructor(readonly className: string) {}

  /** Takes the lock for reading. @throws the task's abort reason, when its signal ends the wait. */
  downRead(task: Task): void | Promise<void> {
    if (this.tryDownRead(task)) return;
    return this.#wait(task, false);
  }

  /** Takes the lock for reading if that needs no wait. */
  tryDownRead(task: Task): boolean {
    if (this.#writer || this.#waiters.length > 0) return false;
    this.#readers++;
    this.#record(task, "read");
    return true;
  }

  /** @throws LockError if `task` does not hold the lock for reading. */
  upRead(task: Task): void {
    this.#forget(task, "read");
    this.#readers--;
    this.#wake();
  }

  /** Takes the lock for writing. @throws the task's abort reason, when its signal ends the wait. */
  downWrite(task: Task): void | Promise<void> {
    if (this.tryDownWrite(task)) return;
    return this.#wait(task, true);
  }

  /** Takes the lock for writing if that needs no wait. */
  tryDownWrite(task: Task): boolean {
    if (this.#writer || this.#readers > 0 || this.#waiters.length > 0) return false;
    this.#writer = task;
    this.#record(task, "write");
    return true;
  }

  /** @throws LockError if `task` does not hold the lock for writing. */
  upWrite(task: Task): void {
    this.#forget(task, "write");
    this.#writer = undefined;
    this.#wake();
  }

  /** Turns a write hold into a read hold without letting a writer in between. */
  downgradeWrite(task: Task): void {
    const hold = this.#find(task, "write");
    hold.mode = "read";
    this.#writer = undefined;
    this.#readers++;
    this.#wake();
  }

  /** Takes the lock for reading, for a scope: `using _ = await memoryLock.read(task)`. */
  read(task: Task): Hold | Promise<Hold> {
    const wait = this.downRead(task);
    return wait ? wait.then(() => this.#find(task, "read")) : this.#find(task, "read");
  }

  /** Takes the lock for writing, for a scope: `using _ = await memoryLock.write(task)`. */
  write(task: Task): Hold | Promise<Hold> {
    const wait = this.downWrite(task);
    return wait ? wait.then(() => this.#find(task, "write")) : this.#find(task, "write");
  }

  isHeldBy(task: Task, mode?: "read" | "write"): boolean {
    return task.holds.some((hold) => hold.lock === this && (mode === undefined || hold.mode === mode));
  }

  #wait(task: Task, exclusive: boolean): Promise<void> {
    if (this.#writer === task) throw new LockError(`${task.name} takes ${this.className} twice`);
    if (task.signal?.aborted) return Promise.reject(task.signal.reason as Error);
    const waiter = new Waiter(task, exclusive);
    this.#waiters.push(waiter);
    return waiter.wait((w) => {
      this.#waiters.splice(this.#waiters.indexOf(w), 1);
      this.#wake(); // the readers behind a writer that gave up
    });
  }

  #wake(): void {
    for (let next = this.#waiters[0]; next && !this.#writer; next = this.#waiters[0]) {
      if (next.exclusive && this.#readers > 0) return;
      this.#waiters.shift();
      if (next.exclusive) this.#writer = next.task;
      else this.#readers++;
      this.#record(next.task, next.exclusive ? "write" : "read");
      next.grant();
    }
  }

  #record(task: Task, mode: HoldMode): void {
    const hold = this.#pool.pop() ?? new RwHold(this);
    hold.task = task;
    hold.mode = mode;
    task.holds.push(hold);
  }

  #find(task: Task, mode: HoldMode): RwHold {
    for (let i = task.holds.length - 1; i >= 0; i--) {
      const hold = task.holds[i]!;
      if (hold.lock === this && hold.mode === mode) return hold as RwHold;
    }
    throw new LockError(
      `${task.name} does not hold ${this.className} for ${mode === "read" ? "reading" : "writing"}`,
    );
  }

  #forget(task: Task, mode: HoldMode): void {
    const hold = this.#find(task, mode);
    task.holds.splice(task.holds.lastIndexOf(hold), 1);
    this.#pool.push(hold);
  }
}
