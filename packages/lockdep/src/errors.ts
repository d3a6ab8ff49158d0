import type { Problem } from "./problem.js";

/** A lock was used against its rules: unlocked by a task that does not hold it, or taken twice by one task. */
export class LockError extends Error {
  override readonly name: string = "LockError";
}

/** The validator, set to throw, has found a problem. The message is the whole report. */
export class LockdepError extends LockError {
  override readonly name = "LockdepError";

  constructor(
    message: string,
    readonly problem: Problem,
  ) {
    super(message);
  }
}
