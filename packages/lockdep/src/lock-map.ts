import { EXCLUSIVE } from "./access.js";
import { LockError } from "./errors.js";
import { HoldRecord, type Hold } from "./hold.js";
import { Lock, type Wait } from "./lock.js";
import { observer } from "./observer.js";
import type { Task } from "./task.js";

const NOBODY: readonly Wait[] = [];

/**
 * A lock that is none: it keeps nobody out, and tells the validator who waits for whom (Linux: lockdep_map, as
 * completions and work queues have one).
 *
 * What is waited for, a job say, runs between `acquire` and `release`. Who waits for it says so with `mightWait`
 * before. The orders then show a wait for a job with a lock held that the job takes.
 */
export class LockMap extends Lock {
  readonly #holds: HoldRecord[] = [];
  readonly #pool: HoldRecord[] = [];

  /** `task` begins what others wait for: `using _ = job.acquire(task)`. It never waits; several tasks can have it. */
  acquire(task: Task): Hold {
    observer?.acquire(task, this, EXCLUSIVE, 0, false);
    const hold = this.#pool.pop() ?? new HoldRecord(this);
    hold.task = task;
    this.#holds.push(hold);
    task.push(hold);
    return hold;
  }

  /** `task` has done what others wait for. @throws LockError if it had not begun */
  release(task: Task): void;
  /** @internal */
  release(hold: HoldRecord): void;
  override release(of: Task | HoldRecord): void {
    const hold = of instanceof HoldRecord ? of : of.find(this);
    const task = of instanceof HoldRecord ? of.task : of;
    const at = hold ? this.#holds.indexOf(hold) : -1;
    if (!hold || at < 0) {
      observer?.badUnlock(task, this);
      throw new LockError(`${task.name} releases ${this.className}, which it does not hold`);
    }
    if (hold.pins > 0) observer?.releasesPinned(hold);
    this.#holds.splice(at, 1);
    task.pop(hold);
    this.#pool.push(hold);
  }

  /** `task` waits here for what this stands for to end, or might. */
  mightWait(task: Task): void {
    observer?.acquire(task, this, EXCLUSIVE, 0, false);
    task.pending = undefined; // it is not held
  }

  override holders(): readonly Task[] {
    return this.#holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    return NOBODY;
  }

  /** @internal */
  override abandon(): void {
    // nobody waits
  }
}
