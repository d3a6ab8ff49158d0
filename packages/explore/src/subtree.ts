import type { Demand } from "./demand.js";
import { Dpor } from "./dpor.js";
import { compareEvents, compareWhole } from "./determinism.js";
import type { Execution } from "./execution.js";
import type { Body } from "./exploration.js";
import { Footprint, type FootprintData } from "./footprint.js";
import { Needs, type Knowledge } from "./needs.js";
import type { FoundFailure } from "./report.js";
import { Runner, type RunnerOptions } from "./run.js";
import { replayPicker } from "./schedule.js";
import { Tally, type Basis, type Counts, type Progress } from "./tally.js";

/** Threads that need not be tried, and what they would do next. */
export type Sleep = Readonly<Record<string, FootprintData>>;

/** A part of an exploration: plain data, which goes through JSON unharmed. */
export interface SubtreeJob {
  /** The threads of the events that its schedules begin with. None: it is the whole. */
  readonly prefix: readonly string[];
  /** Who need not be tried in place of the prefix's last thread. */
  readonly sleep: Sleep;
  /** What is known of the program. */
  readonly knowledge: Knowledge;
  /** Executions after which it stops, and leaves the rest to others. */
  readonly executions: number;
}

/** What came of a job: plain data. It is the same whoever runs the job, and whenever. */
export interface SubtreeResult extends Counts, Basis {
  /** Nothing of the subtree is left. */
  readonly ended: boolean;
  /** Bounds have left schedules out. */
  readonly bounded: boolean;
  /** One of a kind and message, the first. */
  readonly failures: readonly FoundFailure[];
  /** What the prefix's last event touched. */
  readonly touched: FootprintData;
  /** What is to be tried above the subtree, in the order in which it was found. */
  readonly demands: readonly Demand[];
  /** Where the job stopped: the places from its root down to the last one that has something left. */
  readonly places: readonly PlaceData[];
  /** The knowledge was not enough, and so what this says may be too little. */
  readonly outdated: boolean;
  /** What was found out about the program beyond the job's knowledge. */
  readonly news: Knowledge;
}

/** A place on the path where a job has stopped. */
export interface PlaceData {
  readonly chosen: string;
  readonly backtrack: readonly string[];
  readonly sleep: Sleep;
}

/** How the program is run, the same in all parts. */
export interface SubtreeOptions extends RunnerOptions {
  /** `exhaustive`, the default, or `all`: every order, without reduction. */
  readonly strategy?: "exhaustive" | "all" | undefined;
  /** Switches away from a task that could go on, in one execution. Default: no limit. */
  readonly maxPreemptions?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called after every 256 executions. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Called once, when the last execution is over and lockdep still knows the orders of locks that it saw. */
  readonly onDone?: (() => void) | undefined;
}

export const PROGRESS_EVERY = 256;
/** A search that has to start again does so at once, if it has not come further than this. */
const EARLY = 64;

/**
 * Explores the schedules that begin with a prefix, as far as the job's executions go.
 * @throws NotDeterministic if the body does something else under the same schedule, or if the prefix is not its own
 */
export async function exploreSubtree(
  body: Body,
  job: SubtreeJob,
  options: SubtreeOptions = {},
): Promise<SubtreeResult> {
  const { strategy = "exhaustive", maxPreemptions, keepGoing = false, signal } = options;
  const reduces = strategy === "exhaustive" && maxPreemptions === undefined;
  const isWhole = job.prefix.length === 0;
  const root = {
    prefix: job.prefix,
    sleep: new Map(Object.entries(job.sleep).map(([key, footprint]) => [key, Footprint.of(footprint)])),
  };
  const tally = new Tally();
  const needs = new Needs(job.knowledge);
  let dpor = new Dpor({ reduce: reduces, maxPreemptions, root });
  let last: Execution | undefined;
  let first: Execution | undefined;
  /** The first schedule was run twice, and did the same. */
  let compared = false;
  let touched: FootprintData = [];
  let sinceStart = 0;
  let [ended, outdated, tooDeep] = [false, false, false];

  const startAgain = (): void => {
    dpor = new Dpor({ reduce: reduces, maxPreemptions, root });
    last = undefined;
    sinceStart = 0;
    [outdated, tooDeep] = [false, false];
  };

  using runner = await Runner.inTurn(body, options, signal);
  while (runner && tally.executions < job.executions && !signal?.aborted) {
    let execution: Execution;
    try {
      execution = await runner.run((enabled, events) => dpor.pick(enabled, events), needs);
    } catch (error) {
      // What the world outside does is another each time: that is known, and is no fault of the body's.
      if (tally.basis.unknown.length === 0) throw error;
      [ended, tooDeep] = [true, true];
      break;
    }
    tally.begin();
    sinceStart++;
    if (execution.findings.again) {
      startAgain();
      [first, compared] = [undefined, false];
      if (isWhole) continue;
      break; // the other parts have to begin anew as well
    }
    tally.add(execution, needs);
    // All but the last event that it repeats is what it was: that one goes to another thread.
    if (last) compareEvents(last, execution, dpor.repeated - 1);
    else if (first) {
      compareWhole(first, execution);
      compared = true;
    } else first = execution;
    last = execution;
    touched = last.events[job.prefix.length - 1]?.footprint.toData() ?? [];
    tooDeep ||=
      execution.abandoned === "depth" || execution.findings.failures.some(({ kind }) => kind === "livelock");
    if (tally.failures.length > 0 && !keepGoing) break;
    if (needs.footprints.takeGrown() && reduces) outdated = true;
    const goesOn = dpor.advance(execution.events, execution.blocked);
    if (isWhole && outdated && (!goesOn || sinceStart < EARLY)) {
      startAgain();
      continue;
    }
    if (!goesOn) {
      ended = true;
      break;
    }
    if (tally.executions % PROGRESS_EVERY === 0) options.onProgress?.(tally.progress);
  }
  if (runner && first && isWhole && !compared && tally.failures.length === 0 && !signal?.aborted) {
    const again = await runner.run(replayPicker(first.events.map(({ thread }) => thread)), needs);
    if (!again.findings.again) compareWhole(first, again);
  }
  options.onDone?.();
  return {
    ...tally.counts,
    ended,
    bounded: tooDeep || dpor.leftOut,
    failures: tally.failures,
    ...tally.basis,
    touched,
    demands: dpor.demands,
    places: ended
      ? []
      : dpor.places(last?.events ?? []).map(({ chosen, backtrack, sleep }) => ({
          chosen,
          backtrack,
          sleep: Object.fromEntries([...sleep].map(([key, footprint]) => [key, footprint.toData()])),
        })),
    outdated: outdated || sinceStart === 0,
    news: needs.toData(),
  };
}
