import type { Access } from "./access.js";
import type { Lock } from "./lock.js";
import { observer } from "./observer.js";
import { scheduler } from "./scheduler.js";
import type { Site } from "./stack.js";
import type { Task } from "./task.js";

/** How to take a lock, where the plain way is not enough. A constant object keeps the call allocation-free. */
export interface AcquireOptions {
  /** 1 to 7 tells locks of one class apart that are nested on purpose (Linux: mutex_lock_nested). Default 0. */
  readonly subclass?: number;
  /** Ends this wait with the signal's reason; the task's own signal does so too. */
  readonly signal?: AbortSignal;
}

/** One task's place in a lock's queue, and the promise that it awaits. */
export class Waiter {
  previous: Waiter | undefined;
  next: Waiter | undefined;
  readonly since = performance.now();
  /** Where the task waits, and the timer of a long wait: the validator's. @internal */
  site: Site | undefined;
  /** @internal */
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly promise: Promise<void>;
  #resolve!: () => void;
  #reject!: (reason: unknown) => void;

  constructor(
    readonly task: Task,
    readonly lock: Lock,
    readonly access: Access,
    readonly subclass: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.promise = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    task.signal?.addEventListener("abort", this, { once: true });
    signal?.addEventListener("abort", this, { once: true });
  }

  /** The lock is the waiter's now: the lock has already recorded it as an owner. */
  grant(): void {
    this.#deafen();
    if (scheduler) scheduler.resume(this, this.#resolve);
    else this.#resolve();
  }

  /** An `abort` event: a waiter is an EventListener, so that waiting needs no closure. */
  handleEvent(event: Event): void {
    this.fail((event.target as AbortSignal).reason);
  }

  /** Ends the wait without the lock. */
  fail(reason: unknown): void {
    this.#deafen();
    observer?.abandoned(this);
    this.lock.abandon(this);
    if (scheduler) scheduler.resume(this, () => this.#reject(reason));
    else this.#reject(reason);
  }

  #deafen(): void {
    this.task.signal?.removeEventListener("abort", this);
    this.signal?.removeEventListener("abort", this);
  }
}

/** First come, first served; leaving from the middle costs O(1). */
export class WaitQueue {
  #head: Waiter | undefined;
  #tail: Waiter | undefined;

  get first(): Waiter | undefined {
    return this.#head;
  }

  /** All of them, first come first. */
  *[Symbol.iterator](): Iterator<Waiter> {
    for (let waiter = this.#head; waiter; waiter = waiter.next) yield waiter;
  }

  push(waiter: Waiter): void {
    waiter.previous = this.#tail;
    if (this.#tail) this.#tail.next = waiter;
    else this.#head = waiter;
    this.#tail = waiter;
  }

  remove(waiter: Waiter): void {
    if (waiter.previous) waiter.previous.next = waiter.next;
    else this.#head = waiter.next;
    if (waiter.next) waiter.next.previous = waiter.previous;
    else this.#tail = waiter.previous;
  }
}

/** The reason why a wait must not even begin, if there is one. */
export function abortedBy(task: Task, signal: AbortSignal | undefined): AbortSignal | undefined {
  scheduler?.lookingAtSignals(task, signal);
  if (task.signal?.aborted) return task.signal;
  return signal?.aborted ? signal : undefined;
}
