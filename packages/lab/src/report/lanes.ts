import type { CounterexampleLine } from "../counterexample.js";

/** A lock in a task's lane. */
export interface Bar {
  readonly kind: "hold" | "wait";
  /** Index of the task, and of the lock. */
  readonly task: number;
  readonly lock: number;
  readonly mode: "exclusive" | "read" | "write";
  /** The steps that it begins and ends in. A hold ends in the step that lets go; a wait before the task's next one. */
  readonly from: number;
  readonly to: number;
  /** It has not ended when the counterexample does. */
  readonly open: boolean;
  /** Where in the lane it is drawn, from the left. */
  readonly track: number;
}

/** A counterexample as a picture: tasks beside each other, steps below each other. */
export interface SwimLanes {
  readonly tasks: readonly string[];
  readonly locks: readonly string[];
  readonly bars: readonly Bar[];
  /** By task: how many bars it has beside each other at most. */
  readonly tracks: readonly number[];
}

type Draft = { -readonly [Key in keyof Bar]: Bar[Key] };

/** Who holds what from when to when: locks from where they are taken to where they are released. */
export function swimLanes(lines: readonly CounterexampleLine[]): SwimLanes {
  const tasks = [...new Set(lines.flatMap(({ task }) => (task === "" ? [] : [task])))];
  const locks = [...new Set(lines.flatMap(({ lock }) => lock?.lock ?? []))];
  const bars: Draft[] = [];
  const isOpen = (task: number, kind?: Bar["kind"]) => (bar: Draft) =>
    bar.open && bar.task === task && (kind === undefined || bar.kind === kind);

  lines.forEach(({ task: name, lock: event }, step) => {
    const task = tasks.indexOf(name);
    // Who waits does nothing else: whatever it does next, the wait is over.
    const waited = bars.find(isOpen(task, "wait"));
    if (waited) [waited.to, waited.open] = [step - 1, false];
    if (!event) return;
    const lock = locks.indexOf(event.lock);
    if (event.what === "releases") {
      const hold = bars.findLast((bar) => isOpen(task, "hold")(bar) && bar.lock === lock);
      if (hold) [hold.to, hold.open] = [step, false];
      return;
    }
    const taken = new Set(
      bars.filter((bar) => bar.task === task && (bar.open || bar.to === step)).map((bar) => bar.track),
    );
    let track = waited?.lock === lock ? waited.track : 0;
    while (taken.has(track)) track++;
    const kind = event.what === "takes" ? "hold" : "wait";
    bars.push({ kind, task, lock, mode: event.mode, from: step, to: lines.length - 1, open: true, track });
  });

  const tracks = tasks.map((_, task) =>
    Math.max(0, ...bars.filter((bar) => bar.task === task).map((bar) => bar.track + 1)),
  );
  return { tasks, locks, bars, tracks };
}

/** Does it stand when the step is done? */
export function standsAfter({ kind, from, to, open }: Bar, step: number): boolean {
  return from <= step && (kind === "wait" || open ? step <= to : step < to);
}

/** Who holds and waits for what when the step is done: a line a task. */
export function locksAfter({ tasks, locks, bars }: SwimLanes, step: number): readonly string[] {
  return tasks.map((name, task) => {
    const standing = bars.filter((bar) => bar.task === task && standsAfter(bar, step));
    const list = (does: string, kind: Bar["kind"]): string[] => {
      const names = standing
        .filter((bar) => bar.kind === kind)
        .map(({ lock, mode }) => locks[lock]! + HOW[mode]);
      return names.length === 0 ? [] : [`${does} ${names.join(", ")}`];
    };
    return `${name}: ${[...list("holds", "hold"), ...list("waits for", "wait")].join("; ") || "holds nothing"}`;
  });
}

const HOW = { exclusive: "", read: " (reading)", write: " (writing)" } as const;
