import { LockError } from "./errors.js";
import type { HoldRecord } from "./hold.js";
import { Lock } from "./lock.js";
import type { Task } from "./task.js";

const NOBODY: readonly Task[] = [];

/**
 * What tasks wait for and nobody holds: a condition, a channel, a barrier. It has no order among the locks, and
 * nobody can be told to be the one who is waited for.
 */
export abstract class Unowned extends Lock {
  override holders(): readonly Task[] {
    return NOBODY;
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    throw new LockError(`${hold.task.name} cannot hold ${this.className}`);
  }
}
