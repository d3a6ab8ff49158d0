import type { ExecutedEvent } from "./event.js";
import type { Picker } from "./execution.js";

/** A schedule as text: the threads in the order of their events, "0*3 1 0*2" for 0 0 0 1 0 0. */
export function formatSchedule(events: readonly Pick<ExecutedEvent, "thread">[]): string {
  const runs: { thread: string; count: number }[] = [];
  for (const { thread } of events) {
    const last = runs.at(-1);
    if (last?.thread === thread) last.count++;
    else runs.push({ thread, count: 1 });
  }
  return runs.map(({ thread, count }) => (count === 1 ? thread : `${thread}*${count}`)).join(" ");
}

/** The threads of a schedule, one element an event. @throws Error for what is no schedule */
export function parseSchedule(text: string): string[] {
  return text
    .split(/\s+/)
    .filter((run) => run !== "")
    .flatMap((run) => {
      const match = /^([0-9.]+)(?:\*([0-9]{1,6}))?$/.exec(run);
      if (!match) throw new Error(`schedule: "${run}" is no thread, as in "0", "1.0" or "0*3"`);
      return Array.from({ length: Number(match[2] ?? 1) }, () => match[1]!);
    });
}

/** Follows a schedule; where its thread cannot run, and after its end, the one that ran last goes on, or the first. */
export function replayPicker(schedule: readonly string[]): Picker {
  return (enabled, events) => {
    const wanted = schedule[events.length];
    const last = events.at(-1)?.thread;
    return enabled.find(({ key }) => key === wanted) ?? enabled.find(({ key }) => key === last) ?? enabled[0];
  };
}

/** How often a schedule goes over to another thread. */
export function countSwitches(schedule: readonly string[]): number {
  return schedule.filter((thread, i) => i > 0 && schedule[i - 1] !== thread).length;
}
