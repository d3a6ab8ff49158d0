import type { Access } from "./access.js";
import { LockTimeout } from "./errors.js";
import type { Lock, Wait } from "./lock.js";
import { observer } from "./observer.js";
import { scheduler, type Clock } from "./scheduler.js";
import type { Site } from "./stack.js";
import type { Task } from "./task.js";

/** How to take a lock, where the plain way is not enough. A constant object keeps the call allocation-free. */
export interface AcquireOptions {
  /** 1 to 7 tells locks of one class apart that are nested on purpose (Linux: mutex_lock_nested). Default 0. */
  readonly subclass?: number;
  /** Ends this wait with the signal's reason; the task's own signal does so too. */
  readonly signal?: AbortSignal;
  /**
   * Milliseconds: a wait that lasts longer ends with a LockTimeout. It begins when the task enters the queue; a lock
   * that is free is taken all the same. Where interleavings are explored, the time is the virtual clock's.
   */
  readonly timeoutMs?: number;
}

/** The platform's timers, as the scheduler's clock has them. */
const REAL_CLOCK: Clock = {
  setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** Time as waits know it: the scheduler's where there is one. */
export function clockInForce(): Clock {
  return scheduler?.clock ?? REAL_CLOCK;
}

/** Milliseconds, which only reports show; where interleavings are explored, nobody looks at the clock for them. */
export const realTime = (): number => (scheduler ? 0 : performance.now());

/** One task's place in a lock's queue, and the promise that it awaits. */
export class Waiter {
  previous: Waiter | undefined;
  next: Waiter | undefined;
  readonly since = realTime();
  /** Where the task waits, and the timer of a long wait: the validator's. @internal */
  site: Site | undefined;
  /** @internal */
  timer: ReturnType<typeof setTimeout> | undefined;
  readonly promise: Promise<void>;
  #resolve!: () => void;
  #reject!: (reason: unknown) => void;
  #stopClock: (() => void) | undefined;

  /** @param lock what the task waits for now: one who waits for a condition goes on to wait for its mutex */
  constructor(
    readonly task: Task,
    public lock: Lock,
    readonly access: Access,
    readonly subclass: number,
    private readonly options: AcquireOptions | undefined,
  ) {
    this.promise = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    task.signal?.addEventListener("abort", this, { once: true });
    options?.signal?.addEventListener("abort", this, { once: true });
    if (options?.timeoutMs !== undefined) this.#startClock(options.timeoutMs);
  }

  /** The time limit of this wait in milliseconds, if it has one. */
  get timeoutMs(): number | undefined {
    return this.options?.timeoutMs;
  }

  /** What can end the wait without the lock. */
  get bound(): "signal" | "time limit" | undefined {
    if (this.timeoutMs !== undefined) return "time limit";
    return this.options?.signal !== undefined || this.task.signal !== undefined ? "signal" : undefined;
  }

  /** The lock is the waiter's now: the lock has already recorded it as an owner. */
  grant(): void {
    this.deafen();
    if (scheduler) scheduler.resume(this, this.#resolve);
    else this.#resolve();
  }

  /** An `abort` event: a waiter is an EventListener, so that waiting needs no closure. */
  handleEvent(event: Event): void {
    this.fail((event.target as AbortSignal).reason);
  }

  /** Ends the wait without the lock. */
  fail(reason: unknown): void {
    this.deafen();
    observer?.abandoned(this);
    this.lock.abandon(this);
    if (scheduler) scheduler.resume(this, () => this.#reject(reason));
    else this.#reject(reason);
  }

  /** Nothing but a grant ends the wait from here on: what a signal does then is another thing. */
  protected deafen(): void {
    scheduler?.lookingAtSignals(this.task, this.options?.signal);
    this.task.signal?.removeEventListener("abort", this);
    this.options?.signal?.removeEventListener("abort", this);
    this.#stopClock?.();
    this.#stopClock = undefined;
  }

  #startClock(milliseconds: number): void {
    const clock = clockInForce();
    const timer = clock.setTimeout(() => {
      const { task, lock } = this;
      this.fail(new LockTimeout(`${task.name} has waited ${milliseconds} ms for ${lock.className}`));
    }, milliseconds);
    this.#stopClock = () => clock.clearTimeout(timer);
  }
}

/** First come, first served; leaving from the middle costs O(1). */
export class WaitQueue<W extends Waiter = Waiter> {
  #head: Waiter | undefined;
  #tail: Waiter | undefined;

  /** @param lock what they wait for */
  constructor(private readonly lock: Lock) {}

  get first(): W | undefined {
    return this.#head as W | undefined;
  }

  /** All of them, first come first. */
  *[Symbol.iterator](): Iterator<W> {
    for (let waiter = this.#head; waiter; waiter = waiter.next) yield waiter as W;
  }

  /** All of them, as a lock that knows no readers tells them. */
  get waits(): Wait[] {
    scheduler?.touching(this.lock, false);
    return Array.from(this, ({ task, since }) => ({ task, since, mode: "exclusive" }));
  }

  /** The task waits from here on, and whoever watches is told. @returns the promise that it awaits */
  enter(waiter: W): Promise<void> {
    this.#push(waiter);
    observer?.contended(waiter);
    scheduler?.queued(waiter);
    return waiter.promise;
  }

  #push(waiter: W): void {
    waiter.previous = this.#tail;
    waiter.next = undefined;
    if (this.#tail) this.#tail.next = waiter;
    else this.#head = waiter;
    this.#tail = waiter;
  }

  remove(waiter: W): void {
    if (waiter.previous) waiter.previous.next = waiter.next;
    else this.#head = waiter.next;
    if (waiter.next) waiter.next.previous = waiter.previous;
    else this.#tail = waiter.previous;
  }

  /** It is the waiter's turn to go on, and there is nothing to be held. */
  release(waiter: W): void {
    this.remove(waiter);
    observer?.abandoned(waiter);
    waiter.grant();
  }

  /** It is everybody's. */
  releaseAll(): void {
    for (let next = this.first; next; next = this.first) this.release(next);
  }
}

/** The reason why a wait must not even begin, if there is one. */
export function abortedBy(task: Task, signal: AbortSignal | undefined): AbortSignal | undefined {
  scheduler?.lookingAtSignals(task, signal);
  if (task.signal?.aborted) return task.signal;
  return signal?.aborted ? signal : undefined;
}
