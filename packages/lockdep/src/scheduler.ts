import type { Access } from "./access.js";
import type { Lock } from "./lock.js";
import type { Shared } from "./shared.js";
import type { Task } from "./task.js";
import type { AcquireOptions, Waiter } from "./wait-queue.js";

/**
 * Who decides when a task goes on, in a run that explores interleavings (packages/explore). Everywhere else there is
 * none, which costs the locks one comparison.
 */
export interface Scheduler {
  /**
   * `task` is about to take `lock`, or to queue for it: it does so when the promise resolves.
   * @param options what ends this wait, besides the task's own signal
   * @param verb what the task is about to do with it, if that is not to lock it: "receive"
   */
  arrive(task: Task, lock: Lock, access: Access, options?: AcquireOptions, verb?: string): Promise<void>;
  /**
   * The task has arrived. If it need not wait in the queue, it goes on when the promise resolves.
   * @param failed the lock has thrown, which the task catches at once
   */
  arrived(task: Task, lock: Lock, failed: boolean): void | Promise<void>;
  /** A wait has ended, with the lock or without it: `resume` lets the task go on. */
  resume(waiter: Waiter, resume: () => void): void;
  /** The lock was not free: the task is in its queue. */
  queued(waiter: Waiter): void;
  /** `task` tries to take `lock`, which succeeds or fails at once. */
  trying(task: Task, lock: Lock, access: Access): void;
  /** `task` lets go of `lock`, or of a part of it. */
  releasing(task: Task, lock: Lock, access: Access): void;
  /**
   * Somebody looks at what the lock is (who owns it, who waits), or changes it in no other way of these: a notify, a
   * post, a close.
   * @param about it only asks whether this task holds it
   */
  touching(lock: Lock, writes: boolean, about?: Task): void;
  /** It makes a difference whether they are aborted now: the task is about to wait, or its wait is over. */
  lookingAtSignals(task: Task, signal: AbortSignal | undefined): void;
  /** `task` could be preempted here. */
  preempt(task: Task): Promise<void>;
  /** This promise of the locks' own goes on where the scheduler says, so that its `await` is no more than that. */
  mine?<P extends Promise<unknown>>(promise: P): P;
  read(cell: Shared<unknown>): void;
  written(cell: Shared<unknown>): void;
  /** Time limits of waits run by it. Default: the platform's timers. */
  readonly clock?: Clock | undefined;
}

export interface Clock<Timer = unknown> {
  setTimeout(callback: () => void, milliseconds: number): Timer;
  clearTimeout(timer: Timer): void;
}

/** The scheduler in force. */
export let scheduler: Scheduler | undefined;

/** Who decides from now on when locks are granted; undefined: the locks themselves. */
export function schedule(next: Scheduler | undefined): void {
  scheduler = next;
}

/** A promise of the locks' own, whose `await` is no scheduling point: the scheduler has said already when to go on. */
export function ours<P extends Promise<unknown>>(promise: P): P {
  return scheduler?.mine?.(promise) ?? promise;
}

/** Looks at locks without being seen: for whoever watches a run, and is no part of the program that runs. */
export function unseen<T>(look: () => T): T {
  const before = scheduler;
  scheduler = undefined;
  try {
    return look();
  } finally {
    scheduler = before;
  }
}

/**
 * Takes a lock, or queues for it, when the scheduler lets the task arrive; the task goes on when the scheduler lets it.
 * The first of `rest` takes the lock, or returns the promise of the wait.
 */
export function arriving<T>(by: Scheduler, ...rest: Arrival<T>): Promise<T> {
  const arrival = arrive(by, ...rest);
  return ours(arrival);
}

type Arrival<T> = [take: () => T | Promise<T>, ...Parameters<Scheduler["arrive"]>];

async function arrive<T>(
  by: Scheduler,
  take: () => T | Promise<T>,
  ...[task, lock, access, options, verb]: Parameters<Scheduler["arrive"]>
): Promise<T> {
  await by.arrive(task, lock, access, options, verb);
  let outcome: T | Promise<T>;
  try {
    outcome = take();
  } catch (error) {
    const refusal = by.arrived(task, lock, true);
    if (refusal) await refusal;
    throw error;
  }
  // A refusal is the task's to see, once it goes on.
  if (outcome instanceof Promise) ours(outcome).catch(() => undefined);
  const arrival = by.arrived(task, lock, false);
  if (arrival) await arrival;
  return outcome;
}
