import { messageOf } from "./errors.js";
import type { Failure, FailureKind } from "./failure.js";

/** A bug in one run repeats itself in its aftermath. */
const MAX_FAILURES = 16;

/** What an execution has found out. */
export class Findings {
  readonly failures: Failure[] = [];
  /** What the explorer cannot see, and so cannot try in other orders. */
  readonly unknown = new Set<string>();
  /** What a verdict rests on, besides that the executions are all that differ. */
  readonly restsOn = new Set<string>();
  /** What of the world was virtual: random numbers, time, timers. */
  readonly virtual = new Set<string>();
  /** Promises that were rejected, and that nobody handles so far. */
  readonly rejected = new Map<object, unknown>();
  /** The program was left standing at what cannot be explored: that it goes on no more is no failure of its own. */
  gaveUp = false;
  /** It met something that needs another way of running it, which is known now: run it again. */
  again = false;

  /** Whoever would have handled them has had its turn. */
  judgeRejections(): void {
    for (const reason of this.rejected.values()) this.fail("unhandled-rejection", messageOf(reason));
    this.rejected.clear();
  }

  fail(kind: FailureKind, message: string): void {
    if (this.failures.length < MAX_FAILURES) this.failures.push({ kind, message });
  }
}
