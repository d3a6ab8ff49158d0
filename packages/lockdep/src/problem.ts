import type { Frame } from "./stack.js";

/** How a lock was taken. A mutex, and an rwsem taken for writing, are exclusive. */
export type AccessName = "exclusive" | "read" | "recursive-read";

/** A task as reports name it. */
export interface TaskName {
  readonly name: string;
  readonly id: number;
}

/** A place in the source: innermost frame first; empty when nothing is known. */
export type Place = readonly Frame[];

/** A lock that a task holds, or wants. */
export interface LockUse {
  /** Of the instance: "#7", or the name it was given. */
  readonly lock: string;
  /** The class, with its subclass if that is not 0: "memoryLock/1". */
  readonly class: string;
  readonly access: AccessName;
  readonly trylock: boolean;
  /** Has the class ever been taken exclusively, and shared? The kernel's {+.+.}. */
  readonly usage: { readonly exclusive: boolean; readonly shared: boolean };
  readonly at: Place;
  /** `at` is where this chain of locks was seen first, by another task: this one may have come another way. */
  readonly firstSeenBy?: TaskName;
}

/** "While `from` was held, `to` was acquired", and who proved it. */
export interface Order {
  readonly from: string;
  readonly to: string;
  readonly held: AccessName;
  readonly acquired: AccessName;
  readonly usage: LockUse["usage"];
  readonly task: TaskName;
  readonly heldAt: Place;
  readonly at: Place;
  /** Classes that the task held exclusively besides `from` while it acquired `to`, outermost first. */
  readonly besides: readonly string[];
}

/** What each of several tasks does, in the order of time: the moves that end in a hang. */
export interface Schedule {
  readonly tasks: readonly string[];
  readonly moves: readonly {
    readonly task: number;
    readonly text: string;
    /** The task stops here for ever, waiting for this other one. */
    readonly waitsFor?: number;
  }[];
}

/** An order that contradicts the orders seen before. */
export interface CycleProblem {
  readonly kind: "cycle";
  readonly task: TaskName;
  readonly acquiring: LockUse;
  readonly holding: LockUse;
  /** The cycle, starting from the lock being acquired; the last order is the new one. */
  readonly orders: readonly Order[];
  readonly held: readonly LockUse[];
}

/** A task takes a lock of a class that it holds. */
export interface RecursionProblem {
  readonly kind: "recursion";
  readonly task: TaskName;
  readonly acquiring: LockUse;
  readonly holding: LockUse;
  /** It is the very lock that it holds, not just one of the same class. */
  readonly sameLock: boolean;
  readonly held: readonly LockUse[];
}

/** A lock that was released by a task that does not hold it. */
export interface BadUnlockProblem {
  readonly kind: "bad-unlock";
  readonly task: TaskName;
  readonly lock: string;
  readonly class: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** A task that ended, and still holds locks. */
export interface HeldAtExitProblem {
  readonly kind: "held-at-exit";
  readonly task: TaskName;
  /** What the task's body threw, if that is how it ended. */
  readonly thrown?: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** A task that is over was given a lock: nothing says that anybody will release it. */
export interface AfterExitProblem {
  readonly kind: "after-exit";
  readonly task: TaskName;
  readonly acquired: LockUse;
  /** It waited for the lock while it ended; else it asked for it afterwards. */
  readonly waited: boolean;
  readonly held: readonly LockUse[];
}

/** An assertion about held locks that does not hold. */
export interface AssertProblem {
  readonly kind: "assert";
  readonly task: TaskName;
  readonly lock: string;
  readonly class: string;
  readonly expected: "held" | "held for writing" | "held for reading" | "not held";
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** A task is where no lock may be held, and holds some. */
export interface HeldHereProblem {
  readonly kind: "held-here";
  readonly task: TaskName;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** A lock is released that is pinned. */
export interface PinnedProblem {
  readonly kind: "pinned";
  readonly task: TaskName;
  readonly lock: string;
  readonly class: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** Who proved that a class is used in a context, or held while that can begin. */
export interface ContextUse {
  readonly task: TaskName;
  readonly at: Place;
}

/** A class is taken in a context, and held while that context can begin. */
export interface ContextProblem {
  readonly kind: "context";
  readonly task: TaskName;
  readonly context: string;
  readonly class: string;
  readonly used: ContextUse;
  readonly heldOutside: ContextUse;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** While `from`, which is taken in a context, is held, `to` is taken, which is held while the context can begin. */
export interface ContextOrderProblem {
  readonly kind: "context-order";
  readonly task: TaskName;
  readonly context: string;
  readonly from: string;
  readonly to: string;
  readonly used: ContextUse;
  readonly heldOutside: ContextUse;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

/** A task in a real hang, or in a long wait. */
export interface StuckTask {
  readonly task: TaskName;
  readonly waitsFor: LockUse;
  /** Milliseconds since the wait began. */
  readonly waited: number;
  readonly held: readonly LockUse[];
  /** Who holds what it waits for. */
  readonly holders: readonly TaskName[];
  /** What can end the wait, or has ended it, without the lock. */
  readonly bounded?: "signal" | "time limit";
}

/**
 * It has happened: every one of these tasks waits for the next, the last for the first. Where a wait of them is
 * bounded, this is reported once the bound has ended it, or has had a fair time to do so.
 */
export interface HangProblem {
  readonly kind: "hang";
  /** The task whose wait a signal or a time limit has ended, and so the hang. */
  readonly endedBy?: TaskName;
  readonly tasks: readonly StuckTask[];
}

/** A wait has lasted longer than `waitTimeout`. */
export interface LongWaitProblem {
  readonly kind: "long-wait";
  readonly tasks: readonly StuckTask[];
}

/** The validator has reached a bound and can prove nothing any more. */
export interface LimitProblem {
  readonly kind: "limit";
  readonly what: "classes" | "edges";
  readonly bound: number;
}

/** What the validator reports, told apart by `kind`. */
export type Problem =
  | CycleProblem
  | RecursionProblem
  | BadUnlockProblem
  | HeldAtExitProblem
  | AfterExitProblem
  | AssertProblem
  | HeldHereProblem
  | PinnedProblem
  | ContextProblem
  | ContextOrderProblem
  | HangProblem
  | LongWaitProblem
  | LimitProblem;
