import type {
  BadUnlockProblem,
  CycleProblem,
  HeldAtExitProblem,
  LockUse,
  Place,
  RecursionProblem,
  TaskName,
} from "../problem.js";

/** A lock taken in interrupt context, and elsewhere with interrupts on. */
export interface InconsistentState {
  readonly kind: "inconsistent-state";
  readonly task: TaskName;
  readonly lock: LockUse;
  /** As the kernel names them: "IN-HARDIRQ-W", "HARDIRQ-ON-W". */
  readonly before: string;
  readonly now: string;
  readonly registeredAt: Place;
  readonly held: readonly LockUse[];
}

export type SplatProblem =
  CycleProblem | RecursionProblem | BadUnlockProblem | HeldAtExitProblem | InconsistentState;

/** One report in a kernel log. */
export interface Splat {
  /** The line of the log that it begins in, from 1. */
  readonly line: number;
  /** As the kernel titles it: "possible circular locking dependency detected". */
  readonly title: string;
  /** "7.3.4 #1 Not tainted", or "" where that line is missing. */
  readonly kernel: string;
  /** Undefined if the report is of another sort, or too torn to be read: `title` says what it was. */
  readonly problem: SplatProblem | undefined;
}
