import type { HoldMode, HoldRecord } from "./hold.js";
import type { LockClass } from "./lock-class.js";
import { callSite, captureConstruction, methodsOf, type EntryPoints } from "./stack.js";
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
  #name: string | undefined;
  readonly #label: string | undefined;
  #constructed: Error | undefined;

  /**
   * @param className locks of one class follow one order. Without a name the class is the place in the source
   *   that constructs the lock.
   * @param label which lock of its class this is, for reports: a device's address, say. Default "#" and the id.
   * @param constructor whose caller constructs the lock: for a lock that is a part of another object
   */
  constructor(className?: string, label?: string, constructor: object = new.target) {
    this.#name = className;
    this.#label = label;
    if (className === undefined) this.#constructed = captureConstruction(constructor);
  }

  get className(): string {
    return this.#name ?? this.#nameByPlace();
  }

  #nameByPlace(): string {
    this.#name = callSite(this.#constructed!) ?? aloneInItsClass(this.id);
    this.#constructed = undefined;
    return this.#name;
  }

  /** The functions that users call to take it, to let go of it, and so on: see stack.ts. @internal */
  get entryPoints(): EntryPoints {
    return methodsOf(this);
  }

  get label(): string {
    return this.#label ?? `#${this.id}`;
  }

  /** Who holds it now. */
  abstract holders(): readonly Task[];

  /** Who waits for it now, first come first. */
  abstract waiters(): readonly Wait[];

  /**
   * How much of what goes on in its queue makes a difference, where interleavings are explored, as long as nobody tries
   * it or looks at it: 0, who has it after whom; 1, who came when; 2, when those go on who got it.
   */
  readonly detail: 0 | 1 | 2 | 3 = 2;

  /** Can this wait end, if those who are `stuck` never let go? @internal */
  canEnd(_waiter: Waiter, stuck: (task: Task) => boolean): boolean {
    return !this.holders().some(stuck);
  }

  /** Lets go of `hold`: how a hold is disposed. @internal */
  abstract release(hold: HoldRecord): void;

  /** Takes a waiter whose signal was aborted out of the queue. @internal */
  abstract abandon(waiter: Waiter): void;
}

let noted = false;

/** Where stacks do not tell places, two locks could be of any class: each gets its own, and nothing false is said. */
function aloneInItsClass(id: number): string {
  if (!noted)
    console.warn(
      "@vfiokit/lockdep: this engine does not tell where locks are constructed. Each lock without a name is of a " +
        'class of its own, so that orders between classes are not seen: name them, as in new Mutex("rows").',
    );
  noted = true;
  return `lock #${id} without a name`;
}
