import type { HoldMode, HoldRecord } from "./hold.js";
import type { LockClass } from "./lock-class.js";
import { callSite } from "./stack.js";
import type { Task } from "./task.js";
import type { Waiter } from "./wait-queue.js";

let locks = 0;

/** A task in a lock's queue. */
export interface Wait {
  readonly task: Task;
  /** How it is to hold the lock. */
  readonly mode: HoldMode;
  /** When the wait began, as `performance.now()`. */
  readonly since: number;
}

/** What every lock is to the validator: an instance of a class, with holders. */
export abstract class Lock {
  /** Tells instances of a class apart in reports; counts up from 1. */
  readonly id = ++locks;
  /** The validator's class of this lock, once it has seen it. @internal */
  lockClass: LockClass | undefined;
  readonly #name: string | undefined;
  readonly #label: string | undefined;
  readonly #constructed: Error | undefined;

  /**
   * @param className locks of one class follow one order. Without a name the class is the place in the source
   *   that constructs the lock.
   * @param label which lock of its class this is, for reports: a device's address, say. Default "#" and the id.
   */
  constructor(className?: string, label?: string) {
    this.#name = className;
    this.#label = label;
    if (className === undefined) this.#constructed = new Error();
  }

  get className(): string {
    return this.#name ?? callSite(this.#constructed!);
  }

  get label(): string {
    return this.#label ?? `#${this.id}`;
  }

  /** Who holds it now. */
  abstract holders(): readonly Task[];

  /** Who waits for it now, first come first. */
  abstract waiters(): readonly Wait[];

  /** Can this wait end, if those who are `stuck` never let go? @internal */
  canEnd(_waiter: Waiter, stuck: (task: Task) => boolean): boolean {
    return !this.holders().some(stuck);
  }

  /** Lets go of `hold`: how a hold is disposed. @internal */
  abstract release(hold: HoldRecord): void;

  /** Takes a waiter whose signal was aborted out of the queue. @internal */
  abstract abandon(waiter: Waiter): void;
}
