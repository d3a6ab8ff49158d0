import type { Task } from "./task.js";

/** One task's place in a lock's queue. */
export class Waiter {
  resolve!: () => void;
  #onAbort: (() => void) | undefined;

  constructor(
    readonly task: Task,
    readonly exclusive: boolean,
  ) {}

  /** The lock is the waiter's now: the lock has already recorded it as an owner. */
  grant(): void {
    if (this.#onAbort) this.task.signal?.removeEventListener("abort", this.#onAbort);
    this.resolve();
  }

  /** Waits for `grant`; an abort of the task's signal leaves the queue through `leave` and rejects. */
  wait(leave: (waiter: Waiter) => void): Promise<void> {
    const { signal } = this.task;
    return new Promise<void>((resolve, reject) => {
      this.resolve = resolve;
      if (!signal) return;
      this.#onAbort = () => {
        leave(this);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", this.#onAbort, { once: true });
    });
  }
}
