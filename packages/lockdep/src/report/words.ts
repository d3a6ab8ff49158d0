import type { AccessName, LockUse, Place, TaskName } from "../problem.js";

/** The small pieces that all reports are made of. */

/** As the kernel writes a task: comm/pid. A kernel's log does not always tell the task, only the function. */
export const nameOf = (task: TaskName): string => (task.id === 0 ? task.name : `${task.name}/${task.id}`);

/** As the kernel writes a call in its scenarios: lock(a), rlock(a). */
export function call(access: AccessName, lockClass: string): string {
  if (access === "exclusive") return `lock(${lockClass})`;
  return access === "read" ? `rlock(${lockClass})` : `rlock(${lockClass}) recursive`;
}

/**
 * The kernel's usage characters, hardirq and softirq, for writing and for reading: "+" for "taken with interrupts
 * on", "." for "never taken so". Tasks know no interrupts, so only "was it taken at all" is left to say. {4:4} is
 * its wait type of a lock that sleeps.
 */
export function usageOf({ usage }: Pick<LockUse, "usage">): string {
  const [w, r] = [usage.exclusive ? "+" : ".", usage.shared ? "+" : "."];
  return `{${w}${r}${w}${r}}-{4:4}`;
}

/** "Bus.reset (bus.ts:12:5)", or "" when nothing is known. */
export function at(place: Place): string {
  const frame = place[0];
  if (!frame) return "";
  const where = [frame.file, frame.line, frame.column].filter((part) => part !== "" && part !== 0).join(":");
  const named = frame.fn === "" ? where : where === "" ? frame.fn : `${frame.fn} (${where})`;
  return frame.note === undefined ? named : `${named}  # ${frame.note}`;
}

export function stackLines(place: Place, indent: string): string[] {
  return place.map((frame) => indent + at([frame]));
}

/** "a", "a and b", "a, b and c". */
export function list(words: readonly string[]): string {
  if (words.length <= 1) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]!}`;
}

/** Text in columns, each as wide as its widest cell; the last cell of a line is not padded. */
export function columns(rows: readonly (readonly string[])[], gap = 3): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]! + gap))
      .join("")
      .trimEnd(),
  );
}
