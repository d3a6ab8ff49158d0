import { LockError } from "./errors.js";
import type { HoldRecord } from "./hold.js";
import type { Lock } from "./lock.js";
import { activeValidator } from "./lockdep.js";
import type { Task } from "./task.js";

/**
 * "No lock may be held here": before something that takes long, or that waits for others in a way that nobody sees
 * (Linux: might_sleep, debug_check_no_locks_held). Looks also at what those hold that await the task. Checked while
 * the validator is on.
 */
export function assertNothingHeld(task: Task): void {
  for (let at: Task | undefined = task; at; at = at.parent) {
    if (at.records.length === 0) continue;
    activeValidator()?.raise(task, "held-here", (held, place) => ({
      kind: "held-here",
      task: { name: task.name, id: task.id },
      at: place,
      held,
    }));
    return;
  }
}

/**
 * Nobody may let go of what `task` holds of `lock` until it is unpinned as often: who calls out with a lock held makes
 * sure that it is not released meanwhile (Linux: lockdep_pin_lock). `using _ = pin(lock, task)` unpins it.
 * @throws LockError if `task` does not hold `lock`
 */
export function pin(lock: Lock, task: Task): Disposable {
  const hold = held(lock, task);
  hold.pins++;
  return {
    [Symbol.dispose]() {
      if (hold.task === task && hold.pins > 0) hold.pins--;
    },
  };
}

/** Takes one `pin` back. @throws LockError if there is none, or `task` does not hold `lock` */
export function unpin(lock: Lock, task: Task): void {
  const hold = held(lock, task);
  if (hold.pins === 0) throw new LockError(`${lock.className} is not pinned by ${task.name}`);
  hold.pins--;
}

function held(lock: Lock, task: Task): HoldRecord {
  const hold = task.find(lock);
  if (!hold) throw new LockError(`${task.name} does not hold ${lock.className}`);
  return hold;
}
