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

/** A wait for a lock has lasted longer than its `timeoutMs`. */
export class LockTimeout extends LockError {
  override readonly name = "LockTimeout";
}

/** A value was sent to a channel that is closed, or was closed while the sender waited. */
export class ChannelClosed extends LockError {
  override readonly name = "ChannelClosed";
}
