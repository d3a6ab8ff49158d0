import type { Access } from "./access.js";
import type { Lock } from "./lock.js";
import type { Shared } from "./shared.js";
import type { Task } from "./task.js";
import type { Waiter } from "./wait-queue.js";

/**
 * Who decides when a task goes on, in a run that explores interleavings (packages/explore). Everywhere else there is
 * none, which costs the locks one comparison.
 */
export interface Scheduler {
  /** `task` is about to take `lock`, or to queue for it: it does so when the promise resolves. */
  arrive(task: Task, lock: Lock, access: Access): Promise<void>;
  /** A wait has ended, with the lock or without it: `resume` lets the task go on. */
  resume(waiter: Waiter, resume: () => void): void;
  /** `task` has looked at `lock`, or changed it, without waiting: a trylock, a release. */
  touched(task: Task, lock: Lock, access: Access): void;
  /** `task` could be preempted here. */
  preempt(task: Task): Promise<void>;
  read(cell: Shared<unknown>): void;
  written(cell: Shared<unknown>): void;
}

/** The scheduler in force. */
export let scheduler: Scheduler | undefined;

export function schedule(next: Scheduler | undefined): void {
  scheduler = next;
}
