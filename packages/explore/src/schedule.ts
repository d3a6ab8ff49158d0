import type { Picker } from "./execution.js";
import type { Detail } from "./needs.js";

/** What tells an execution from the others of its program. */
export interface Schedule {
  /** The threads, one element an event. */
  readonly threads: readonly string[];
  /** How much of locks was explored, if it is more than of others of their kind. */
  readonly locks: Readonly<Record<string, Detail>>;
  /** Awaits of what is no scheduling point are points all the same. */
  readonly gaps: boolean;
}

/**
 * A schedule as text: "0*3 1 0*2" for the threads 0 0 0 1 0 0, "@@state%231" for a lock explored in detail 2, and "~" if
 * any `await` is a point.
 */
export function formatSchedule({ threads, locks, gaps }: Schedule): string {
  const runs: { thread: string; count: number }[] = [];
  for (const thread of threads) {
    const last = runs.at(-1);
    if (last?.thread === thread) last.count++;
    else runs.push({ thread, count: 1 });
  }
  return [
    ...(gaps ? ["~"] : []),
    ...Object.entries(locks).map(([name, detail]) => `${"@".repeat(detail)}${encodeURIComponent(name)}`),
    ...runs.map(({ thread, count }) => (count === 1 ? thread : `${thread}*${count}`)),
  ].join(" ");
}

/** @throws Error for what is no schedule */
export function parseSchedule(text: string): Schedule {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const locks = words.flatMap((word) => {
    const [, ats, name] = /^(@{1,3})([^@]+)$/.exec(word) ?? [];
    return ats ? [[decodeURIComponent(name!), ats.length as Detail] as const] : [];
  });
  return {
    locks: Object.fromEntries(locks),
    gaps: words.includes("~"),
    threads: words.filter((word) => !/^(?:@{1,3}[^@].*|~)$/.test(word)).flatMap(parseRun),
  };
}

function parseRun(run: string): string[] {
  const match = /^(s(?:\.[0-9.]+)?|[0-9.]+)(?:\*([0-9]{1,6}))?$/.exec(run);
  if (!match) throw new Error(`schedule: "${run}" is no thread, as in "0", "1.0" or "0*3"`);
  return Array.from({ length: Number(match[2] ?? 1) }, () => match[1]!);
}

/** Follows a schedule; where its thread cannot run, and after its end, the one that ran last goes on, or the first. */
export function replayPicker(threads: readonly string[]): Picker {
  return (enabled, events) => {
    const wanted = threads[events.length];
    const last = events.at(-1)?.thread;
    return enabled.find(({ key }) => key === wanted) ?? enabled.find(({ key }) => key === last) ?? enabled[0];
  };
}

/** How often a schedule goes over to another thread. */
export function countSwitches(threads: readonly string[]): number {
  return threads.filter((thread, i) => i > 0 && threads[i - 1] !== thread).length;
}
