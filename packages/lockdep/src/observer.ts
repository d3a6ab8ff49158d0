import type { Access } from "./access.js";
import type { HoldRecord } from "./hold.js";
import type { Lock } from "./lock.js";
import type { Task } from "./task.js";
import type { Waiter } from "./wait-queue.js";

/**
 * What locks tell whoever watches them: the one seam for the validator, and for a scheduler that explores
 * interleavings. Calls are synchronous; `acquire` may throw, which refuses the lock with nothing changed.
 */
export interface LockObserver {
  /** `task` is about to take `lock`, or to wait for it; a trylock is announced only once it is sure to succeed. */
  acquire(task: Task, lock: Lock, access: Access, subclass: number, trylock: boolean): void;
  /** The lock is not free: the task is in the queue. */
  contended(waiter: Waiter): void;
  /** A wait ended without the lock (AbortSignal). */
  abandoned(waiter: Waiter): void;
  /** The hold is its task's, and the last of `task.holds`. */
  acquired(hold: HoldRecord): void;
  /** The write hold has become a read hold. */
  downgraded(hold: HoldRecord): void;
  /** The hold is gone from `task.holds`; `last` tells whether it was the last one there. */
  released(hold: HoldRecord, last: boolean): void;
  /** `task` tried to release a lock that it does not hold. The lock throws afterwards. */
  badUnlock(task: Task, lock: Lock): void;
  /** A hold that is pinned is about to be released. */
  releasesPinned(hold: HoldRecord): void;
  /** A context can begin again, and `task` may hold locks. */
  contextOpened(task: Task): void;
  /** `task` tried to take a lock that it would wait for itself to release. The lock throws afterwards. */
  recursion(task: Task, lock: Lock, access: Access): void;
  /** The task is over. */
  ended(task: Task): void;
}

/** The observer in force. Undefined costs the locks one comparison. */
export let observer: LockObserver | undefined;

export function observe(next: LockObserver | undefined): void {
  observer = next;
}
