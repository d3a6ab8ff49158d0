import { NotDeterministic } from "./errors.js";
import type { Execution } from "./execution.js";

/**
 * Compares two executions whose first events followed the same schedule: tasks, labels and what was touched have to be
 * the same. What the program keeps from one execution to the next, or gets from where the explorer does not look, shows
 * as a difference.
 * @param count events that are compared
 * @throws NotDeterministic naming the event that differs
 */
export function compareEvents(before: Execution, now: Execution, count: number): void {
  if (isUnknown(before) || isUnknown(now)) return; // no proof comes of it anyway
  for (let i = 0; i < count; i++) {
    const [first, again] = [before.events[i], now.events[i]];
    if (!first && !again) return;
    if (first?.thread !== again?.thread || first?.label !== again?.label)
      throw new NotDeterministic(
        `event ${i + 1} was ${what(before, i)} the first time, and now ${what(now, i)}`,
      );
    const difference = first!.footprint.differenceTo(again!.footprint);
    if (difference !== undefined)
      throw new NotDeterministic(
        `event ${i + 1}, ${what(now, i)}, touches something else each time: ${difference}`,
      );
  }
}

/** Compares two executions of one schedule, to their ends. @throws NotDeterministic */
export function compareWhole(before: Execution, now: Execution): void {
  compareEvents(before, now, Infinity);
  const [first, again] = [endOf(before), endOf(now)];
  if (first !== again && !isUnknown(before) && !isUnknown(now))
    throw new NotDeterministic(`it ended with ${first} the first time, and now with ${again}`);
}

function isUnknown({ findings }: Execution): boolean {
  return findings.unknown.size > 0;
}

function what({ events, threads }: Execution, index: number): string {
  const event = events[index];
  if (!event) return "none";
  return `${event.label} of ${threads.find(({ key }) => key === event.thread)?.name ?? event.thread}`;
}

function endOf({ findings, threads }: Execution): string {
  const unended = threads.filter(({ mustEnd, ended }) => mustEnd && !ended).map(({ name }) => name);
  // What a check says may count executions.
  const parts = [
    ...findings.failures.map(({ message }) => message.replace(/\d+/g, "#")),
    ...unended.map((name) => `${name} waiting`),
  ];
  return parts.length > 0 ? parts.join("; ") : "no failure";
}
