import { Mutex, type Lock, type Task } from "@vfiokit/lockdep";
import { unseen } from "@vfiokit/lockdep/hooks";

/** The lock is a mutex, and somebody has it. */
export function isTaken(lock: Lock): boolean {
  return lock instanceof Mutex && unseen(() => lock.owner) !== undefined;
}

export function holds(task: Task, lock: Lock): boolean {
  return task.holds.some((hold) => hold.lock === lock);
}
