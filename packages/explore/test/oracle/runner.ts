import {
  explore,
  exploreParts,
  exploreSubtree,
  replay,
  type SubtreeJob,
  type SubtreeOptions,
  type SubtreeResult,
  type Body,
  type ExploreReport,
  type FoundFailure,
} from "@vfiokit/explore";
import { RealProgram } from "./body.js";
import type { Outcomes } from "./enumerator.js";
import type { Program } from "./program.js";

export interface Difference {
  readonly what: "missed" | "extra" | "not replayed" | "run twice" | "threw";
  /** An end state, a failure, a schedule. */
  readonly item: string;
}

export interface Comparison {
  /** Nothing is said of a program that was too large. */
  readonly compared: boolean;
  readonly executions: number;
  readonly differences: readonly Difference[];
}

export interface CompareOptions {
  readonly strategy?: "exhaustive" | "all";
  readonly maxExecutions?: number;
}

/** Explores a program, and says where it is not what was enumerated. */
export async function compare(
  program: Program,
  expected: Outcomes,
  { strategy = "exhaustive", maxExecutions = 500 }: CompareOptions = {},
): Promise<Comparison> {
  const plainFields = program.plain ? ("conflict" as const) : ("none" as const);
  const options = { strategy, maxExecutions, keepGoing: true, lockdep: false, plainFields };
  let report: ExploreReport;
  try {
    report = await explore(bodyOf(program), options);
  } catch (error) {
    return { compared: true, executions: 0, differences: [{ what: "threw", item: String(error) }] };
  }
  const { executions, failures: found } = report;
  if (!report.exhausted) return { compared: false, executions, differences: [] };
  const ends = new Map<string, FoundFailure>();
  const failures = new Map<string, FoundFailure>();
  const schedules = new Map<string, number>();
  for (const each of found) {
    const end = endOf(each);
    if (end === undefined) failures.set(describe(each), each);
    else {
      ends.set(end, each);
      schedules.set(each.schedule, (schedules.get(each.schedule) ?? 0) + 1);
    }
  }
  const differences: Difference[] = [
    ...differencesOf(expected.ends, ends.keys()),
    ...differencesOf(expected.failures, failures.keys()),
  ];
  for (const [item, { schedule }] of [...failures, ...ends]) {
    const again = await replay(bodyOf(program), schedule, options);
    if (!again.failures.some((each) => (endOf(each) ?? describe(each)) === item))
      differences.push({ what: "not replayed", item: `${item} (${schedule})` });
  }
  if ([...schedules.values()].some((count) => count > 1))
    for (const schedule of await runTwice(program, options))
      differences.push({ what: "run twice", item: schedule });
  return { compared: true, executions, differences };
}

/**
 * Schedules that a search ran more than once. What it learns about a program can make it begin anew, which is no fault:
 * so it is told at the start what it learned the first time.
 */
async function runTwice(program: Program, options: SubtreeOptions): Promise<string[]> {
  const jobs: SubtreeJob[] = [];
  const results: SubtreeResult[] = [];
  const run = async (job: SubtreeJob): Promise<SubtreeResult> => {
    const result = await exploreSubtree(bodyOf(program), { ...job, executions: Infinity }, options);
    jobs.push(job);
    results.push(result);
    return result;
  };
  await exploreParts(run, { keepGoing: true });
  const [whole, { news: knowledge }] = [jobs[0]!, results[0]!];
  const again = await run({ ...whole, knowledge });
  const schedules = again.failures
    .filter((each) => endOf(each) !== undefined)
    .map(({ schedule }) => schedule);
  return schedules.filter((schedule, i) => schedules.indexOf(schedule) < i);
}

/**
 * The program, whose every execution that ends well says what it ended with, and is told from the others: the report
 * then has the schedule of each.
 */
export function bodyOf(program: Program): Body {
  let executions = 0;
  return (x) => {
    const step = (touches?: readonly string[]): Promise<void> =>
      touches?.length === 0 ? x.pure() : x.step(touches ? { touches } : {});
    const real = new RealProgram(program, { ...x, step });
    const number = ++executions;
    x.finally(() => {
      throw new Error(`${END}${number} ${real.end()}`);
    });
  };
}

const END = "ended #";

function endOf({ message }: FoundFailure): string | undefined {
  return message.startsWith(END) ? message.slice(message.indexOf(" ", END.length) + 1) : undefined;
}

/** A failure as the enumerator says it: who holds what is left out, since the text may name holders in any order. */
function describe({ kind, message }: FoundFailure): string {
  if (kind === "assertion") return message;
  if (kind !== "deadlock" && kind !== "lost-wakeup") return `${kind}: ${message}`;
  const waits = [...message.matchAll(/(\w+) waits for (\w+)/g)].map(([text]) => text);
  return `stuck: ${waits.toSorted().join("; ")}`;
}

function differencesOf(expected: ReadonlySet<string>, seen: Iterable<string>): Difference[] {
  const all = new Set(seen);
  return [
    ...[...expected].filter((item) => !all.has(item)).map((item) => ({ what: "missed" as const, item })),
    ...[...all].filter((item) => !expected.has(item)).map((item) => ({ what: "extra" as const, item })),
  ];
}
