import type { AwaitsAre, PlainFields } from "./assumptions.js";
import type { Body } from "./exploration.js";
import { Needs, NO_KNOWLEDGE } from "./needs.js";
import { pctPicker, randomPicker } from "./random.js";
import { foundFailure, reportOf, type ExploreReport } from "./report.js";
import { Runner } from "./run.js";
import { parseSchedule, replayPicker } from "./schedule.js";
import { exploreSubtree, PROGRESS_EVERY } from "./subtree.js";
import { Tally, type Progress } from "./tally.js";

/** How to explore: the strategy, its limits, and what to tell meanwhile. */
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
  /**
   * What the body's tasks share that the explorer does not see. `conflict`, the default: whatever a task does between
   * two points may use any plain field, unless it says less (`x.step({ touches })`, `x.pure()`, `x.shared`), so orders
   * of that make a difference. `none` promises that there is nothing: it saves most of the orders, and the verdict
   * rests on it.
   */
  readonly plainFields?: PlainFields;
  /**
   * What an `await` is of a promise that comes from no lock, cell or point of the explorer's: an async function of the
   * program's own, a foreign library's lock. `points`, the default: others may run there. `fused`, only with
   * `plainFields: "none"`, promises that it makes no difference: what a task does between two points is one piece, if
   * what it awaits meanwhile has settled by itself. It saves many orders, and the verdict rests on it.
   */
  readonly awaits?: AwaitsAre;
  /** Ends the exploration, with what was found so far. */
  readonly signal?: AbortSignal;
  /** Called after every 256 executions. */
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Runs `body`'s tasks under every interleaving that matters, and reports what went wrong in which.
 * @throws NotDeterministic if the body does something else under the same schedule.
 */
export async function explore(body: Body, options: ExploreOptions = {}): Promise<ExploreReport> {
  const { strategy = "exhaustive", maxExecutions = Infinity } = options;
  if (strategy === "random" || strategy === "pct") return sample(body, strategy, options);
  const begun = performance.now();
  const whole = { prefix: [], sleep: {}, knowledge: NO_KNOWLEDGE, executions: maxExecutions };
  const result = await exploreSubtree(body, whole, { ...options, strategy });
  return reportOf({ ...result, time: performance.now() - begun }, options);
}

/** Schedules chosen at random. */
async function sample(
  body: Body,
  strategy: "random" | "pct",
  options: ExploreOptions,
): Promise<ExploreReport> {
  const { seed = 1, runs = 1000, depth = 3, maxExecutions = Infinity } = options;
  const tally = new Tally();
  const needs = new Needs();
  using runner = await Runner.inTurn(body, options, options.signal);
  while (runner && tally.executions < Math.min(runs, maxExecutions) && !options.signal?.aborted) {
    const { executions, counts } = tally;
    const picker =
      strategy === "random"
        ? randomPicker(seed + executions)
        : pctPicker(seed + executions, depth, Math.max(counts.maxDepth, 10));
    const execution = await runner.run(picker, needs);
    tally.begin();
    if (execution.findings.again) continue;
    tally.add(execution, needs);
    if (tally.failures.length > 0 && !options.keepGoing) break;
    if (tally.executions % PROGRESS_EVERY === 0) options.onProgress?.(tally.progress);
  }
  return reportOf({ ...tally.found, ended: false, bounded: false }, options);
}

/** Runs one schedule, as a report gave it. */
export async function replay(
  body: Body,
  schedule: string,
  options: ExploreOptions = {},
): Promise<ExploreReport> {
  const tally = new Tally();
  const { threads, ...known } = parseSchedule(schedule);
  const needs = new Needs({ ...NO_KNOWLEDGE, ...known });
  using runner = (await Runner.inTurn(body, options, undefined))!;
  let execution = await runner.run(replayPicker(threads), needs);
  while (execution.findings.again) execution = await runner.run(replayPicker(threads), needs);
  tally.begin();
  tally.add(execution, needs);
  const failures = execution.findings.failures.map((failure) => foundFailure(execution, failure, needs));
  const { plainFields, awaits } = options; // bounds play no part
  return reportOf({ ...tally.found, failures, ended: false, bounded: false }, { plainFields, awaits });
}
