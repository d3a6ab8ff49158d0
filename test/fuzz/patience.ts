import { readFileSync } from "node:fs";

/** What a peer may take to answer, milliseconds. */
export const ANSWER_MS = 1000;

/** Milliseconds that a process has waited for a CPU while it could have run: /proc/PID/schedstat, of its main thread. */
function waitedForCpu(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "latin1").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** Of the time that passes, at most so much is a wait for a CPU: nobody is waited for without end. */
const MOST_WAITING = 0.9;

/** A moment, to measure from. */
export interface Mark {
  readonly at: number;
  readonly waited: number;
}

/**
 * Time without that which one of the processes waited for a CPU: a machine that is busy with something else makes nobody
 * late.
 */
export class Patience {
  /** The longest wait so far, milliseconds. */
  longest = 0;

  constructor(private readonly pids: readonly number[]) {}

  mark(): Mark {
    const waited = [process.pid, ...this.pids].reduce((sum, pid) => sum + waitedForCpu(pid), 0);
    return { at: performance.now(), waited };
  }

  /** Milliseconds since then. */
  since(mark: Mark): number {
    const { at, waited } = this.mark();
    const passed = at - mark.at;
    return passed - Math.min(waited - mark.waited, MOST_WAITING * passed);
  }

  /** @returns whether `done` came within `limit` of the last `progress()` that differed */
  async wait(
    done: Promise<unknown>,
    { limit = ANSWER_MS, progress = () => 0 }: { limit?: number; progress?: () => number } = {},
  ): Promise<boolean> {
    let over = false;
    const end = done.then(
      () => (over = true),
      () => (over = true),
    );
    let since = this.mark();
    let seen = progress();
    for (;;) {
      const left = Math.max(1, limit - this.since(since));
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([end, new Promise((resolve) => (timer = setTimeout(resolve, left)))]);
      clearTimeout(timer);
      // Written by `end`, which the compiler does not see.
      if (over as boolean) {
        this.longest = Math.max(this.longest, this.since(since));
        return true;
      }
      if (progress() !== seen) {
        seen = progress();
        since = this.mark();
      } else if (this.since(since) >= limit) return false;
    }
  }
}
