import type { Frame } from "../stack.js";

/** A protocol as the checker runs it: every default filled in, every name resolved. */

export type Verdict = "cycle" | "recursion" | "bad-unlock" | "held-at-exit" | "assert" | "clean";

/** What a task does with a lock. */
export type Op =
  | "lock"
  | "lock_nested"
  | "trylock"
  | "read"
  | "read_recursive"
  | "write"
  | "unlock"
  | "downgrade"
  | "assert_held"
  | "assert_not_held";

/** One thing that a task does. */
export interface Step {
  readonly op: Op;
  readonly lock: string;
  /** Of lock_nested; else 0. */
  readonly subclass: number;
  /** Of a trylock on an rwsem. */
  readonly mode?: "read" | "write";
  /** Where the step is in the source that it describes, or else in the protocol file. */
  readonly at: Frame;
}

/** A lock of a scenario. */
export interface LockSpec {
  readonly kind: "mutex" | "rwsem";
  readonly class: string;
}

/** A task of a scenario. */
export interface TaskSpec {
  readonly name: string;
  readonly comment?: string;
  readonly steps: readonly Step[];
}

/** Tasks and the locks that they take, with the verdict that is expected. */
export interface Scenario {
  readonly name: string;
  readonly comment?: string;
  readonly locks: ReadonlyMap<string, LockSpec>;
  readonly tasks: readonly TaskSpec[];
  readonly expect?: Verdict;
}

/** A lock protocol file. */
export interface Protocol {
  readonly file: string;
  readonly scenarios: readonly Scenario[];
}

/** How a step takes its lock; undefined if it takes none. */
export function takes(
  step: Step,
  locks: Scenario["locks"],
): "exclusive" | "read" | "read_recursive" | undefined {
  switch (step.op) {
    case "lock":
    case "lock_nested":
    case "write":
      return "exclusive";
    case "read":
      return "read";
    case "read_recursive":
      return "read_recursive";
    case "trylock":
      return locks.get(step.lock)!.kind === "rwsem" && step.mode === "read" ? "read" : "exclusive";
    default:
      return undefined;
  }
}

/** The step as the kernel's scenarios write it. */
export function stepText(step: Step): string {
  switch (step.op) {
    case "lock_nested":
      return `lock(${step.lock}/${step.subclass})`;
    case "read":
      return `rlock(${step.lock})`;
    case "read_recursive":
      return `rlock(${step.lock}) recursive`;
    case "write":
      return `lock(${step.lock})`;
    case "trylock":
      return step.mode === "read" ? `try_rlock(${step.lock})` : `trylock(${step.lock})`;
    default:
      return `${step.op}(${step.lock})`;
  }
}
