import { Shared, Task, lockdep } from "@vfiokit/lockdep";
import { Dpor } from "./dpor.js";
import type { ExecutedEvent } from "./event.js";
import { Execution, type Failure, type Picker } from "./execution.js";
import { pctPicker, randomPicker } from "./random.js";
import { countSwitches, formatSchedule, parseSchedule, replayPicker } from "./schedule.js";
import { onUnhandledRejection } from "./unhandled.js";

/** What a program that is explored gets. */
export interface Exploration {
  /** Declares a task. All tasks begin when the body has returned. */
  task(name: string, run: (task: Task) => Promise<void>): TaskHandle;
  /** A place where other tasks can run. */
  step(label?: string): Promise<void>;
  /** A variable whose every access is such a place. */
  shared<T>(name: string, value: T): SharedCell<T>;
  /** Checked after every event. Throws if it does not hold. */
  invariant(check: () => void): void;
  /** Checked when all tasks have ended. Throws if it does not hold. */
  finally(check: () => void | Promise<void>): void;
}

export interface TaskHandle {
  readonly task: Task;
  /** Cancels the task: aborts its signal. */
  abort(reason?: unknown): void;
}

/** A variable whose accesses are scheduling points. */
export interface SharedCell<T> {
  get(): Promise<T>;
  set(value: T): Promise<void>;
  /** Its value, for checks: no scheduling point. */
  readonly current: T;
}

export type Body = (x: Exploration) => void | Promise<void>;

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
  /** Events in one execution; more is a livelock. Default 10,000. */
  readonly maxEvents?: number;
  /** Executions; reaching it leaves the space unexhausted. Default: no limit. */
  readonly maxExecutions?: number;
  /** Switches away from a thread that could go on. Leaves schedules with more unexplored. Default: no limit. */
  readonly maxPreemptions?: number;
  /** Goes on after a failure, to find others. Default false. */
  readonly keepGoing?: boolean;
  /** Problems of lock order are failures. Default true. */
  readonly lockdep?: boolean;
  readonly signal?: AbortSignal;
  /** Called now and then, with what was done so far. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly executions: number;
  readonly events: number;
}

/** A failure, and how to see it again. */
export interface FoundFailure extends Failure {
  /** For `replay`. */
  readonly schedule: string;
  /** What happened, one element an event. */
  readonly trace: readonly TraceEvent[];
}

export interface TraceEvent {
  readonly thread: string;
  readonly task: string;
  readonly label: string;
}

export interface ExploreReport {
  /** Every schedule that matters was run, without failure or with `keepGoing`. */
  readonly exhausted: boolean;
  readonly executions: number;
  /** Executions ended early, since they could only repeat what was explored. */
  readonly pruned: number;
  /** Events of all executions. */
  readonly events: number;
  /** Events of the longest execution. */
  readonly maxDepth: number;
  /** Milliseconds. */
  readonly time: number;
  /** One of a kind and message. */
  readonly failures: readonly FoundFailure[];
}

const PROGRESS_EVERY = 256;

/** Runs `body`'s tasks under every interleaving that matters, and reports what went wrong in which. */
export async function explore(body: Body, options: ExploreOptions = {}): Promise<ExploreReport> {
  const begun = performance.now();
  const { strategy = "exhaustive", seed = 1, runs = 1000, maxExecutions = Infinity } = options;
  const systematic =
    strategy === "exhaustive" || strategy === "all"
      ? new Dpor(strategy === "exhaustive" && options.maxPreemptions === undefined)
      : undefined;
  const failures = new Map<string, FoundFailure>();
  let [executions, pruned, events, maxDepth, exhausted, cut] = [0, 0, 0, 0, false, false];

  while (executions < maxExecutions && !options.signal?.aborted) {
    const picker = systematic
      ? bounded(
          (enabled, done) => systematic.pick(enabled, done),
          options.maxPreemptions,
          () => (cut = true),
        )
      : strategy === "random"
        ? randomPicker(seed + executions)
        : pctPicker(seed + executions, options.depth ?? 3, Math.max(maxDepth, 10));
    const execution = await runOnce(body, picker, options);
    executions++;
    events += execution.events.length;
    maxDepth = Math.max(maxDepth, execution.events.length);
    if (execution.abandoned) pruned++;
    if (execution.failure) {
      const key = `${execution.failure.kind} ${execution.failure.message}`;
      if (!failures.has(key)) failures.set(key, found(execution, execution.failure));
      if (!options.keepGoing) break;
    }
    if (systematic ? !systematic.advance(execution.events) : executions >= runs) {
      exhausted = systematic !== undefined && !cut;
      break;
    }
    if (executions % PROGRESS_EVERY === 0) options.onProgress?.({ executions, events });
  }
  const time = performance.now() - begun;
  return { exhausted, executions, pruned, events, maxDepth, time, failures: [...failures.values()] };
}

/** Runs one schedule, as a report gave it. */
export async function replay(
  body: Body,
  schedule: string,
  options: ExploreOptions = {},
): Promise<ExploreReport> {
  const begun = performance.now();
  const execution = await runOnce(body, replayPicker(parseSchedule(schedule)), options);
  const length = execution.events.length;
  return {
    exhausted: false,
    executions: 1,
    pruned: 0,
    events: length,
    maxDepth: length,
    time: performance.now() - begun,
    failures: execution.failure ? [found(execution, execution.failure)] : [],
  };
}

/** The same kind of failure with fewer switches between tasks, and fewer events, as far as simple changes lead. */
export async function minimise(
  body: Body,
  failure: FoundFailure,
  options: ExploreOptions = {},
): Promise<FoundFailure> {
  let best = failure;
  for (let improved = true; improved;) {
    improved = false;
    const threads = parseSchedule(best.schedule);
    for (let at = 1; at < threads.length && !improved; at++) {
      const before = threads[at - 1]!;
      if (before === threads[at]) continue;
      // Let the thread that ran go on: its next event comes here instead of later.
      const next = threads.indexOf(before, at);
      const candidate = threads.slice(0, at).concat(
        next < 0 ? [] : [before],
        threads.slice(at).filter((_, i) => i + at !== next),
      );
      if (next < 0) continue;
      const execution = await runOnce(body, replayPicker(candidate), options);
      if (execution.failure?.kind !== best.kind) continue;
      const shorter = found(execution, execution.failure);
      const [old, now] = [threads, parseSchedule(shorter.schedule)];
      if (now.length > old.length || countSwitches(now) >= countSwitches(old)) continue;
      best = shorter;
      improved = true;
    }
  }
  return best;
}

function found(execution: Execution, failure: Failure): FoundFailure {
  const names = new Map(execution.threads.map(({ key, name }) => [key, name]));
  return {
    ...failure,
    schedule: formatSchedule(execution.events),
    trace: execution.events.map(({ thread, label }: ExecutedEvent) => ({
      thread,
      task: names.get(thread)!,
      label,
    })),
  };
}

/** Ends executions that would switch away once more often than the bound from a thread that could go on. */
function bounded(pick: Picker, bound: number | undefined, cut: () => void): Picker {
  if (bound === undefined) return pick;
  let preemptions = 0;
  return (enabled, events) => {
    const next = pick(enabled, events);
    const last = events.at(-1)?.thread;
    if (next && last !== undefined && next.key !== last && enabled.some(({ key }) => key === last))
      preemptions++;
    if (preemptions <= bound) return next;
    cut();
    return undefined;
  };
}

async function runOnce(body: Body, pick: Picker, options: ExploreOptions): Promise<Execution> {
  const execution = new Execution();
  const invariants: (() => void)[] = [];
  const finals: (() => void | Promise<void>)[] = [];
  const stopListening = onUnhandledRejection((reason) =>
    execution.fail("unhandled-rejection", reason instanceof Error ? reason.message : String(reason)),
  );
  const before = lockdep.mode;
  if (options.lockdep ?? true)
    lockdep.configure({ mode: (problem) => execution.fail("lockdep", problem.kind) });
  try {
    await body(exploration(execution, invariants, finals));
    execution.endSetUp();
    const checkAll = () => invariants.forEach((check) => check());
    await execution.run(pick, { maxEvents: options.maxEvents ?? 10_000 }, checkAll);
    if (!execution.failure && !execution.abandoned) for (const check of finals) await check();
  } catch (error) {
    execution.fail("assertion", error instanceof Error ? error.message : String(error));
  } finally {
    lockdep.configure({ mode: before });
    stopListening();
  }
  return execution;
}

function exploration(
  execution: Execution,
  invariants: (() => void)[],
  finals: (() => void | Promise<void>)[],
): Exploration {
  return {
    task(name, run) {
      const controller = new AbortController();
      const task = new Task(name, { signal: controller.signal });
      execution.start(task, () => run(task));
      return { task, abort: (reason) => controller.abort(reason ?? new Error(`${name} was cancelled`)) };
    },
    step: (label) => execution.step(label),
    shared: <T>(name: string, value: T) => sharedCell(execution, new Shared(name, value)),
    invariant: (check) => void invariants.push(check),
    finally: (check) => void finals.push(check),
  };
}

function sharedCell<T>(execution: Execution, cell: Shared<T>): SharedCell<T> {
  return {
    async get() {
      await execution.access(cell, false);
      return cell.value;
    },
    async set(value) {
      await execution.access(cell, true);
      cell.value = value;
    },
    get current() {
      return cell.value;
    },
  };
}
