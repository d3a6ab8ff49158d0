import { LockError } from "./errors.js";
import type { Hold } from "./hold.js";
import type { Task } from "./task.js";
import { Waiter } from "./wait-queue.js";

/**
 * A fair mutual-exclusion lock, owned by a task (Linux: struct mutex).
 *
 * Taking it when it is free neither allocates nor yields: `lock` returns a promise only when it has to wait,
 * so the hot path is `const wait = mutex.lock(task); if (wait) await wait;`.
 */
export class Mutex {
  #owner: Task | undefined;
  #waiters: Waiter[] = [];
  /** A mutex has one holder, so one hold serves every acquisition. */
  readonly #hold: Hold & { task: Task | undefined };

  constructor(readonly className: string) {
    this.#hold = {
      lock: this,
      mode: "exclusive",
      task: undefined as unknown as Task,
      [Symbol.dispose]: () => this.unlock(this.#hold.task),
    };
  }

  get owner(): Task | undefined {
    return this.#owner;
  }

  /** Takes the lock. @throws the task's abort reason, when its signal ends the wait. */
  lock(task: Task): void | Promise<void> {
    if (!this.#owner) {
      this.#take(task);
      return;
    }
    if (this.#owner === task) throw new LockError(`${task.name} takes ${this.className} twice`);
    if (task.signal?.aborted) return Promise.reject(task.signal.reason as Error);
    const waiter = new Waiter(task, true);
    this.#waiters.push(waiter);
    return waiter.wait((w) => this.#waiters.splice(this.#waiters.indexOf(w), 1));
  }

  /** Takes the lock if that needs no wait. */
  tryLock(task: Task): boolean {
    if (this.#owner) return false;
    this.#take(task);
    return true;
  }

  /** @throws LockError if `task` does not hold the lock. */
  unlock(task: Task): void {
    if (this.#owner !== task)
      throw new LockError(`${task.name} releases ${this.className}, which it does not hold`);
    task.holds.splice(task.holds.lastIndexOf(this.#hold), 1);
    this.#owner = undefined;
    const next = this.#waiters.shift();
    if (!next) return;
    this.#take(next.task);
    next.grant();
  }

  /** Takes the lock for a scope: `using _ = await mutex.acquire(task)`. */
  acquire(task: Task): Hold | Promise<Hold> {
    const wait = this.lock(task);
    return wait ? wait.then(() => this.#hold) : this.#hold;
  }

  isHeldBy(task: Task): boolean {
    return this.#owner === task;
  }

  #take(task: Task): void {
    this.#owner = task;
    this.#hold.task = task;
    task.holds.push(this.#hold);
  }
}
