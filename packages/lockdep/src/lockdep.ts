import { EXCLUSIVE, READ } from "./access.js";
import { LockdepError } from "./errors.js";
import type { SeenOrder } from "./graph.js";
import type { HoldMode } from "./hold.js";
import type { Lock } from "./lock.js";
import type { Mutex } from "./mutex.js";
import { observe } from "./observer.js";
import type { Problem } from "./problem.js";
import { formatProblem } from "./report/text.js";
import { RwSemaphore } from "./rwsem.js";
import type { Task } from "./task.js";
import { DEFAULT_LIMITS, Validator, type Limits } from "./validator.js";

/**
 * - `off`: locks only.
 * - `warn`: the report goes to `console.warn`.
 * - `throw`: the call that proves the problem throws a LockdepError and changes nothing; a hang is broken by
 *   rejecting the wait that closed it.
 * - a function: it gets the problem, and the lock is taken all the same.
 */
export type Mode = "off" | "warn" | "throw" | ((problem: Problem) => void);

/** What `lockdep.configure` takes. */
export interface LockdepOptions {
  readonly mode?: Mode;
  /** Report a wait for a lock that lasts longer than this many milliseconds. 0, the default: never. */
  readonly waitTimeout?: number;
  /** How much the validator may remember, from the next `reset` on. */
  readonly limits?: Partial<Limits>;
}

/** More than anybody will read; a later one only counts as reported. */
const MAX_KEPT = 100;

let mode: Mode = "off";
let waitTimeout = 0;
let limits = DEFAULT_LIMITS;
let problems: Problem[] = [];
let validator = makeValidator();

function makeValidator(): Validator {
  return new Validator({
    limits,
    get waitTimeout() {
      return waitTimeout > 0 ? waitTimeout : undefined;
    },
    sink: deliver,
  });
}

function deliver(problem: Problem): LockdepError | undefined {
  if (problems.length < MAX_KEPT) problems.push(problem);
  if (typeof mode === "function") mode(problem);
  else if (mode === "throw") return new LockdepError(`\n${formatProblem(problem)}`, problem);
  else console.warn(formatProblem(problem));
  return undefined;
}

/** The validator, while it is on. @internal */
export function activeValidator(): Validator | undefined {
  return mode === "off" ? undefined : validator;
}

/** The validator of this program: one for all locks. */
export const lockdep = {
  /** Sets what is given and leaves the rest. */
  configure(options: LockdepOptions): void {
    const wasOff = mode === "off";
    mode = options.mode ?? mode;
    waitTimeout = options.waitTimeout ?? waitTimeout;
    limits = { ...limits, ...options.limits };
    if (options.limits) validator = makeValidator();
    else if (wasOff) validator.resume();
    observe(mode === "off" ? undefined : validator);
  },

  get mode(): Mode {
    return mode;
  },

  /** Forgets every order and problem, and keeps the configuration. For tests. */
  reset(): void {
    problems = [];
    validator = makeValidator();
    observe(mode === "off" ? undefined : validator);
  },

  /** The problems found so far, oldest first, each distinct one once. */
  get problems(): readonly Problem[] {
    return problems;
  },

  /** Hands over the problems found so far: for a test that provokes one. */
  takeProblems(): readonly Problem[] {
    const taken = problems;
    problems = [];
    return taken;
  },

  /** The orders seen so far: which classes were acquired while which were held. */
  get orders(): readonly SeenOrder[] {
    return validator.orders;
  },

  /** How much is known. */
  get stats(): { classes: number; edges: number; chains: number } {
    return validator.stats;
  },
};

/** The program is at its end: hangs that something could still have ended are reported. */
export function reportUnfinished(): void {
  if (mode !== "off") validator.finish();
}

/** The task holds the lock, in whatever mode. Checked while the validator is on (Linux: lockdep_assert_held). */
export function assertHeld(lock: Lock, task: Task): void {
  if (mode !== "off" && !holds(lock, task)) validator.failedAssert(task, lock, "held", [assertHeld]);
}

/** The task holds the lock exclusively. */
export function assertHeldWrite(lock: Lock, task: Task): void {
  if (mode !== "off" && !holds(lock, task, "write") && !holds(lock, task, "exclusive"))
    validator.failedAssert(task, lock, "held for writing", [assertHeldWrite]);
}

/** The task holds the lock for reading. */
export function assertHeldRead(lock: Lock, task: Task): void {
  if (mode !== "off" && !holds(lock, task, "read"))
    validator.failedAssert(task, lock, "held for reading", [assertHeldRead]);
}

/** The task does not hold the lock. */
export function assertNotHeld(lock: Lock, task: Task): void {
  if (mode !== "off" && holds(lock, task)) validator.failedAssert(task, lock, "not held", [assertNotHeld]);
}

/**
 * "This function takes the lock on some path": checks the order on every path (Linux: might_lock).
 * @param how an rwsem is meant to be taken for writing, unless this says "read".
 */
export function mightLock(lock: Mutex | RwSemaphore, task: Task, how: "read" | "write" = "write"): void {
  if (mode === "off") return;
  validator.mightLock(task, lock, lock instanceof RwSemaphore && how === "read" ? READ : EXCLUSIVE);
}

/** By the task itself, or by one that awaits it. */
function holds(lock: Lock, task: Task, held?: HoldMode): boolean {
  for (let at: Task | undefined = task; at; at = at.parent) if (at.find(lock, held)) return true;
  return false;
}
