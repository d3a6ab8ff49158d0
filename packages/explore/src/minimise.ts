import { explore, replay, type ExploreOptions } from "./explore.js";
import type { Body } from "./exploration.js";
import type { FoundFailure } from "./report.js";
import { countSwitches, formatSchedule, parseSchedule } from "./schedule.js";

/** How long `minimise` may look. */
export interface MinimiseOptions extends Pick<
  ExploreOptions,
  "lockdep" | "plainFields" | "maxEvents" | "signal"
> {
  /** Executions to spend on the search for a schedule with the fewest preemptions. Default 2000. */
  readonly maxExecutions?: number;
}

/**
 * The same kind of failure with fewer switches between tasks, and fewer events.
 *
 * First by small changes of the schedule, as far as they lead; then by a search through all schedules with no
 * preemption, with one, and so on: what that finds has as few preemptions as there can be.
 */
export async function minimise(
  body: Body,
  failure: FoundFailure,
  options: MinimiseOptions = {},
): Promise<FoundFailure> {
  const best = await joinRuns(body, failure, options);
  const { maxExecutions = 2000, ...rest } = options;
  let spent = 0;
  for (let maxPreemptions = 0; spent < maxExecutions; maxPreemptions++) {
    let fewest: FoundFailure | undefined;
    const report = await explore(body, {
      ...rest,
      maxPreemptions,
      maxExecutions: maxExecutions - spent,
      keepGoing: true,
    });
    for (const found of report.failures) {
      if (found.kind === failure.kind && isSmaller(found, fewest ?? best)) fewest = found;
    }
    spent += report.executions;
    if (fewest) return joinRuns(body, fewest, options);
    if (report.exhausted || report.failures.some(({ kind }) => kind === failure.kind)) break;
  }
  return best;
}

/** Lets a task that was switched away from go on instead, where the failure stays. */
async function joinRuns(body: Body, failure: FoundFailure, options: MinimiseOptions): Promise<FoundFailure> {
  let best = failure;
  for (let improved = true; improved;) {
    improved = false;
    const { threads, locks } = parseSchedule(best.schedule);
    for (let at = 1; at < threads.length && !improved; at++) {
      const before = threads[at - 1]!;
      // The next event of the thread that ran comes here, instead of later.
      const next = threads.indexOf(before, at);
      if (next <= at || options.signal?.aborted) continue;
      const changed = [
        ...threads.slice(0, at),
        before,
        ...threads.slice(at, next),
        ...threads.slice(next + 1),
      ];
      const report = await replay(body, formatSchedule({ threads: changed, locks }), options);
      const again = report.failures.find(({ kind }) => kind === best.kind);
      if (!again || !isSmaller(again, best)) continue;
      best = again;
      improved = true;
    }
  }
  return best;
}

function isSmaller(a: FoundFailure, b: FoundFailure): boolean {
  const [x, y] = [parseSchedule(a.schedule).threads, parseSchedule(b.schedule).threads];
  const switches = countSwitches(x) - countSwitches(y);
  return switches < 0 || (switches === 0 && x.length < y.length);
}
