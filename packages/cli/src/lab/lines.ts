import type { CounterexampleLine } from "@vfiokit/lab";
import type { Style } from "../style.js";

/** A counterexample for a person: a task a line, its steps in the order in which they happened. */
export function lines(told: readonly CounterexampleLine[], style: Style): string[] {
  const width = Math.max(0, ...told.map(({ task }) => task.length));
  let last = "";
  return told.map(({ task, text }) => {
    // A name for each turn: where another task goes on, the eye finds it.
    const name = task === last ? "" : task;
    last = task;
    const broken = text.startsWith("!!") || task === "";
    if (width === 0) return text;
    return `${style.cyan(name.padEnd(width))}  ${broken ? style.red(text) : text}`.trimEnd();
  });
}
