import { EXCLUSIVE, READ, READ_RECURSIVE, type Access } from "./access.js";
import type { Lock } from "./lock.js";
import type { Task } from "./task.js";

/** How a lock is held. */
export type HoldMode = "exclusive" | "read" | "write";

/**
 * A lock held by a task, released when disposed: `using _ = await stateMutex.acquire(task)`.
 * Holds are pooled by their lock: do not keep one after it is released.
 */
export interface Hold extends Disposable {
  readonly lock: Lock;
  readonly mode: HoldMode;
  readonly task: Task;
  readonly subclass: number;
}

/** A hold as the locks and the validator see it. */
export class HoldRecord implements Hold {
  task!: Task;
  mode: HoldMode = "exclusive";
  subclass = 0;
  recursive = false;
  trylock = false;
  /** How often it is pinned: must not be released. @internal */
  pins = 0;

  constructor(readonly lock: Lock) {}

  get access(): Access {
    if (this.mode !== "read") return EXCLUSIVE;
    return this.recursive ? READ_RECURSIVE : READ;
  }

  [Symbol.dispose](): void {
    this.lock.release(this);
  }
}
