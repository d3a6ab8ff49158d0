import type { AwaitsAre, PlainFields } from "./assumptions.js";
import type { Execution } from "./execution.js";
import type { Failure } from "./failure.js";
import type { Needs } from "./needs.js";
import { formatSchedule } from "./schedule.js";
import type { Basis, Counts } from "./tally.js";

/**
 * - `failed`: there are failures.
 * - `proved`: no schedule fails.
 * - `proved-within-bounds`: no schedule within the bounds fails, and the bounds left some out.
 * - `unknown`: something was met that the explorer cannot see, and no schedule fails that it ran.
 * - `nothing-to-explore`: the body has no tasks.
 * - `not-found`: not every schedule was tried, and none of those failed.
 */
export type Verdict =
  "nothing-to-explore" | "failed" | "proved" | "proved-within-bounds" | "unknown" | "not-found";

/** What came of an exploration; plain data, which goes through JSON unharmed. */
export interface ExploreReport extends Counts, Basis {
  readonly verdict: Verdict;
  /** Every schedule that can make a difference was run, up to the first failure unless `keepGoing`. */
  readonly exhausted: boolean;
  /** What the tasks were taken to share that nobody sees; `none` is the caller's promise. */
  readonly plainFields: PlainFields;
  /** What an `await` of anybody's promise is; `fused` is the caller's promise. */
  readonly awaits: AwaitsAre;
  /** The bounds that were set. */
  readonly bounds: Bounds;
  /** Milliseconds. */
  readonly time: number;
  /** One of a kind and message. */
  readonly failures: readonly FoundFailure[];
}

/** The limits that an exploration ran into or was given. */
export interface Bounds {
  readonly maxPreemptions?: number;
  readonly maxDepth?: number;
}

/** What was found, before it is said what that proves. */
export interface Found extends Counts, Basis {
  /** Every schedule that can make a difference was run. */
  readonly ended: boolean;
  /** Bounds have left schedules out. */
  readonly bounded: boolean;
  readonly failures: readonly FoundFailure[];
  /** Milliseconds. */
  readonly time: number;
}

/** The options that a verdict depends on. */
export interface Conditions {
  readonly maxPreemptions?: number | undefined;
  readonly maxDepth?: number | undefined;
  readonly plainFields?: PlainFields | undefined;
  readonly awaits?: AwaitsAre | undefined;
}

export function reportOf(found: Found, options: Conditions): ExploreReport {
  const { executions, pruned, events, maxDepth, tasks, unknown, virtual, restsOn, time, failures } = found;
  const { plainFields = "conflict", awaits = "points" } = options;
  return {
    verdict: verdictOf(found),
    exhausted: found.ended && !found.bounded,
    ...{ unknown, virtual, restsOn },
    bounds: {
      ...(options.maxPreemptions !== undefined && { maxPreemptions: options.maxPreemptions }),
      ...(options.maxDepth !== undefined && { maxDepth: options.maxDepth }),
    },
    ...{ plainFields, awaits },
    ...{ executions, pruned, events, maxDepth, tasks },
    time,
    failures,
  };
}

function verdictOf({ failures, ended, bounded, unknown, tasks }: Found): Verdict {
  if (failures.length > 0) return "failed";
  if (!ended) return "not-found";
  if (unknown.length > 0) return "unknown";
  if (tasks === 0) return "nothing-to-explore";
  return bounded ? "proved-within-bounds" : "proved";
}

/** What a command ends with; 2 is wrong usage. */
export function exitCodeOf(verdict: Verdict): 0 | 1 | 2 | 3 | 4 {
  switch (verdict) {
    case "proved":
      return 0;
    case "failed":
      return 1;
    case "nothing-to-explore":
      return 2;
    case "proved-within-bounds":
    case "not-found":
      return 3;
    case "unknown":
      return 4;
  }
}

/** A failure, and how to see it again. */
export interface FoundFailure extends Failure {
  /** For `replay`. */
  readonly schedule: string;
  /** What happened, one element an event. */
  readonly trace: readonly TraceEvent[];
}

/** One event of an execution: whose it was, and what it did. */
export interface TraceEvent {
  readonly thread: string;
  readonly task: string;
  readonly label: string;
}

export function foundFailure(execution: Execution, failure: Failure, needs: Needs): FoundFailure {
  const names = new Map(execution.threads.map(({ key, name }) => [key, name]));
  return {
    ...failure,
    schedule: formatSchedule({
      threads: execution.events.map(({ thread }) => thread),
      locks: Object.fromEntries(needs.locks),
      gaps: needs.gaps,
    }),
    trace: execution.events.map(({ thread, label }) => ({ thread, task: names.get(thread)!, label })),
  };
}

/** The report for people: the verdict, the counts, and each failure with its counterexample, a column for each task. */
export function formatReport(report: ExploreReport): string {
  const { executions, pruned, events, maxDepth, time, failures } = report;
  const lines = [
    verdictText(report),
    `${plural(executions, "execution")} (${pruned} cut short), ${plural(events, "event")}, ` +
      `at most ${maxDepth} in one, ${time < 10 ? time.toFixed(1) : time.toFixed(0)} ms`,
  ];
  for (const failure of failures) lines.push("", ...failureLines(failure));
  return lines.join("\n");
}

/** What was found, and what that rests on. A failure rests on nothing: it can be replayed. */
function verdictText(report: ExploreReport): string {
  if (report.verdict === "failed") return foundText(report);
  const { executions, plainFields, awaits, virtual, restsOn } = report;
  const promises = [
    plainFields === "none" && "tasks share no plain fields",
    awaits === "fused" && "nothing comes between a task and its own awaits",
  ].filter(Boolean);
  return [
    foundText(report),
    plural(executions, "execution"),
    promises.length > 0 && `promised: ${promises.join(", ")}`,
    virtual.length > 0 && `virtual: ${virtual.join(", ")}`,
    ...restsOn,
  ]
    .filter(Boolean)
    .join("; ");
}

function foundText({ verdict, bounds, failures, unknown, tasks }: ExploreReport): string {
  const interleaving = `interleaving of ${plural(tasks, "task")}`;
  switch (verdict) {
    case "unknown":
      return `UNKNOWN: ${unknown.join("; ")}; no ${interleaving} fails that was tried`;
    case "failed":
      return `FAILED: ${plural(failures.length, "failure")}`;
    case "proved":
      return `PROVED: no ${interleaving} fails`;
    case "proved-within-bounds": {
      const set = [
        bounds.maxPreemptions !== undefined && `at most ${plural(bounds.maxPreemptions, "preemption")}`,
        bounds.maxDepth !== undefined && `at most ${plural(bounds.maxDepth, "event")}`,
      ];
      const within = set.filter(Boolean).join(" and ");
      return `LIMITS MET: no ${interleaving} fails that has ${within || "as many events as are allowed"}`;
    }
    case "nothing-to-explore":
      return "NOTHING TO EXPLORE: the body declares no task";
    case "not-found":
      return `NOTHING FOUND: not every ${interleaving} was tried`;
  }
}

/** One failure: what it is, its counterexample as columns, and its schedule. */
export function formatFailure(failure: FoundFailure): string {
  return failureLines(failure).join("\n");
}

function failureLines({ kind, message, schedule, trace }: FoundFailure): string[] {
  const threads = [...new Map(trace.map(({ thread, task }) => [thread, task]))];
  const widths = threads.map(([key, name]) =>
    Math.max(name.length, ...trace.filter(({ thread }) => thread === key).map(({ label }) => label.length)),
  );
  const row = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join("  ")
      .trimEnd();
  const numberWidth = `${trace.length}`.length;
  return [
    `${kind}: ${message}`,
    `${" ".repeat(numberWidth + 4)}${row(threads.map(([, name]) => name))}`,
    ...trace.map(
      ({ thread, label }, i) =>
        `  ${`${i + 1}`.padStart(numberWidth)}  ${row(threads.map(([key]) => (key === thread ? label : "")))}`,
    ),
    `schedule: ${schedule}`,
  ];
}

function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
