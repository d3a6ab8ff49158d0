import { Dpor } from "./dpor.js";
import type { Execution, Picker } from "./execution.js";
import type { Body } from "./exploration.js";
import { Needs } from "./needs.js";
import { pctPicker, randomPicker } from "./random.js";
import { foundFailure, type Bounds, type ExploreReport, type FoundFailure } from "./report.js";
import { Runner } from "./run.js";
import { parseSchedule, replayPicker } from "./schedule.js";

export interface ExploreOptions {
  /**
   * - `exhaustive`, the default: every order that can make a difference.
   * - `all`: every order, without reduction.
   * - `random`, `pct`: `runs` schedules from `seed`.
   */
  readonly strategy?: "exhaustive" | "all" | "random" | "pct";
  readonly seed?: number;
  /** Executions of `random` and `pct`. Default 1000. */
  readonly runs?: number;
  /** Of `pct`: how many orderings a bug needs. Default 3. */
  readonly depth?: number;
  /** Events in one execution; more is a livelock. Default 2000. */
  readonly maxEvents?: number;
  /** Events in one execution; what comes later is left unexplored. Default: no limit. */
  readonly maxDepth?: number;
  /** Executions; reaching it leaves the space unexhausted. Default: no limit. */
  readonly maxExecutions?: number;
  /**
   * Switches away from a task that could go on. Schedules with more are left unexplored, and reduction is off.
   * Default: no limit.
   */
  readonly maxPreemptions?: number;
  /** Goes on after a failure, to find others. Default false. */
  readonly keepGoing?: boolean;
  /** Problems of lock order are failures. Default true. */
  readonly lockdep?: boolean;
  /** Ends the exploration, with what was found so far. */
  readonly signal?: AbortSignal;
  /** Called after every 256 executions. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly executions: number;
  readonly pruned: number;
  readonly events: number;
  readonly failures: number;
  /** Milliseconds. */
  readonly time: number;
}

const PROGRESS_EVERY = 256;
/** A search that has to start again does so at once, if it has not come further than this. */
const EARLY = 64;

/**
 * Runs `body`'s tasks under every interleaving that matters, and reports what went wrong in which.
 * @throws NotDeterministic if the body does something else under the same schedule.
 */
export async function explore(body: Body, options: ExploreOptions = {}): Promise<ExploreReport> {
  const begun = performance.now();
  const { maxExecutions = Infinity } = options;
  const failures = new Map<string, FoundFailure>();
  const needs = new Needs();
  let search = newSearch(options);
  let [executions, sinceStart, pruned, events, maxDepth] = [0, 0, 0, 0, 0];
  let [tooDeep, ended] = [false, false];

  const startAgain = (): void => {
    search = newSearch(options);
    [sinceStart, tooDeep] = [0, false];
  };

  using runner = new Runner(body, options);
  while (executions < maxExecutions && !options.signal?.aborted) {
    const execution = await runner.run(search.picker(executions, maxDepth), needs);
    executions++;
    sinceStart++;
    if (execution.again) {
      startAgain();
      continue;
    }
    events += execution.events.length;
    maxDepth = Math.max(maxDepth, execution.events.length);
    if (execution.abandoned === "pruned") pruned++;
    if (execution.abandoned === "depth") tooDeep = true;
    for (const failure of execution.failures) {
      if (failure.kind === "livelock") tooDeep = true;
      const key = `${failure.kind} ${failure.message}`;
      if (!failures.has(key)) failures.set(key, foundFailure(execution, failure, needs.queued));
    }
    if (failures.size > 0 && !options.keepGoing) break;
    if (needs.footprints.takeGrown()) search.outdated = search.reduces;
    const goesOn = search.goesOn(executions, execution);
    if (search.outdated && (!goesOn || sinceStart < EARLY)) {
      startAgain();
      continue;
    }
    if (!goesOn) {
      ended = true;
      break;
    }
    if (executions % PROGRESS_EVERY === 0) {
      const time = performance.now() - begun;
      options.onProgress?.({ executions, pruned, events, failures: failures.size, time });
    }
  }
  const complete = ended && search.systematic;
  const exhausted = complete && !tooDeep && !search.leftOut;
  return {
    verdict:
      failures.size > 0 ? "failed" : exhausted ? "proved" : complete ? "proved-within-bounds" : "not-found",
    exhausted,
    bounds: boundsOf(options),
    executions,
    pruned,
    events,
    maxDepth,
    time: performance.now() - begun,
    failures: [...failures.values()],
  };
}

/** Runs one schedule, as a report gave it. */
export async function replay(
  body: Body,
  schedule: string,
  options: ExploreOptions = {},
): Promise<ExploreReport> {
  const begun = performance.now();
  const { threads, queued } = parseSchedule(schedule);
  const needs = new Needs(new Set(queued));
  using runner = new Runner(body, options);
  let execution = await runner.run(replayPicker(threads), needs);
  while (execution.again) execution = await runner.run(replayPicker(threads), needs);
  const length = execution.events.length;
  return {
    verdict: execution.failures.length > 0 ? "failed" : "not-found",
    exhausted: false,
    bounds: {},
    executions: 1,
    pruned: 0,
    events: length,
    maxDepth: length,
    time: performance.now() - begun,
    failures: execution.failures.map((failure) => foundFailure(execution, failure, needs.queued)),
  };
}

function boundsOf({ maxPreemptions, maxDepth }: ExploreOptions): Bounds {
  return {
    ...(maxPreemptions !== undefined && { maxPreemptions }),
    ...(maxDepth !== undefined && { maxDepth }),
  };
}

/** Which schedules are run, one after the other. */
interface Search {
  /** It tries all, and does not choose at random. */
  readonly systematic: boolean;
  /** It leaves out executions that are like others. */
  readonly reduces: boolean;
  /** What it concluded rests on less than is known now. */
  outdated: boolean;
  /** Bounds of its own left schedules out. */
  readonly leftOut: boolean;
  picker(executions: number, maxDepth: number): Picker;
  /** After an execution: is there another? */
  goesOn(executions: number, last: Execution): boolean;
}

function newSearch(options: ExploreOptions): Search {
  const { strategy = "exhaustive", seed = 1, runs = 1000 } = options;
  if (strategy === "random" || strategy === "pct")
    return {
      systematic: false,
      reduces: false,
      outdated: false,
      leftOut: false,
      picker: (executions, maxDepth) =>
        strategy === "random"
          ? randomPicker(seed + executions)
          : pctPicker(seed + executions, options.depth ?? 3, Math.max(maxDepth, 10)),
      goesOn: (executions) => executions < runs,
    };
  const dpor = new Dpor({ reduce: strategy === "exhaustive", maxPreemptions: options.maxPreemptions });
  return {
    systematic: true,
    reduces: strategy === "exhaustive" && options.maxPreemptions === undefined,
    outdated: false,
    get leftOut() {
      return dpor.leftOut;
    },
    picker: () => (enabled, events) => dpor.pick(enabled, events),
    goesOn: (_, { events, blocked }) => dpor.advance(events, blocked),
  };
}
