import type { Hold } from "./hold.js";

/**
 * One line of execution that can own locks: a client's command, an administrator's action, a device's worker.
 *
 * Async functions have no thread identity, so a task is passed explicitly, as Go passes a context.
 * A task awaits one lock at a time.
 */
export class Task {
  /** Aborting it ends a wait for a lock with the signal's reason (Linux: a killable wait). */
  readonly signal: AbortSignal | undefined;

  /** What the task holds, in the order of acquisition. Read it; only the locks change it. */
  readonly holds: Hold[] = [];

  constructor(
    readonly name: string,
    options: { signal?: AbortSignal } = {},
  ) {
    this.signal = options.signal;
  }
}
