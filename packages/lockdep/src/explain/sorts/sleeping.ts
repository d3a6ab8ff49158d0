import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list, nameOf } from "../../report/words.js";
import { functionOf } from "../frames.js";
import { callers, type Report } from "../report.js";
import { picture, type Sort } from "./sort.js";

/** Something that sleeps, or may, where nothing may: under a spinlock, with interrupts off, in a section of RCU. */
export interface AtomicSleepProblem {
  readonly kind: "atomic-sleep";
  /** It really slept (scheduling while atomic), it might have (sleeping function), or it would lose its wake-up. */
  readonly how: "might-sleep" | "scheduled" | "not-running";
  readonly task: TaskName | undefined;
  /** Where the function says that it may sleep: "mm/slab.h:421", or "". */
  readonly says: string;
  /** Why nothing may sleep, as far as the report says. */
  readonly because: readonly string[];
  /** The innermost functions that sleep, and who called them. */
  readonly at: Place;
  /** Where preemption was switched off, or the task's state set. */
  readonly since: Place;
  readonly held: readonly LockUse[];
}

const graph = ({ task, at: place, held, because, since }: AtomicSleepProblem) => {
  const who = task ? nameOf(task) : "the task";
  return picture(
    "Sleeps where nothing may",
    [who],
    [
      { from: who, to: at(place) || "a sleep", label: ["sleeps in"], culprit: true },
      ...held.map((use) => ({ from: use.class, to: who, label: ["held by", at(use.at)], culprit: false })),
      ...(held.length === 0
        ? [{ from: because[0] ?? "not told", to: who, label: [at(since)], culprit: false }]
        : []),
    ],
  );
};

export const sleeping: Sort<AtomicSleepProblem> = {
  name: "sleeping",
  title: /^BUG: (sleeping function called from invalid context)/,
  kinds: ["atomic-sleep"],
  sections: ["atomic"],
  read: (report) => {
    const state = report.find(
      /^in_atomic\(\): (\d+), irqs_disabled\(\): (\d+)(?:, non_block: (\d+))?, pid: (-?\d+), name: (.*)$/,
    );
    const match = report.need(state, "the line that begins with in_atomic()");
    const count = report.find(/^preempt_count: ([0-9a-f]+), expected: ([0-9a-f]+)/);
    const rcuDepth = report.find(/^RCU nest depth: (\d+), expected: (\d+)/);
    const because = [
      ...(match[2] !== "0" ? ["interrupts are off"] : []),
      ...(count && count[1] !== count[2]
        ? [`preemption is off (preempt_count ${count[1]!}, expected ${count[2]!})`]
        : []),
      ...(!count && match[1] === "1" ? ["preemption is off"] : []),
      ...(rcuDepth && rcuDepth[1] !== rcuDepth[2] ? ["this is a read-side section of RCU"] : []),
      ...(match[3] !== undefined && match[3] !== "0"
        ? ["this code is marked as one that must not block (non_block_start)"]
        : []),
    ];
    return {
      ...common(report, "might-sleep", { name: match[5]!, id: Number(match[4]) }),
      says: report.find(/invalid context at (\S+)/)?.[1] ?? "",
      because,
    };
  },
  words,
  graph,
  notes: (_, report) => report.heldNotes(),
};

export const scheduling: Sort<AtomicSleepProblem> = {
  ...sleeping,
  name: "scheduling",
  title: /^BUG: (scheduling while atomic)/,
  kinds: [],
  sections: [],
  read: (report) => {
    const match = report.need(report.find(/while atomic: (\S.*)\/(\d+)\/0x([0-9a-f]+)/), "the task");
    const count = Number.parseInt(match[3]!, 16);
    const because = [
      ...((count & 0xff) > 1 ? [`preemption is off (preempt_count 0x${match[3]!})`] : []),
      ...((count & 0xff00) !== 0 ? ["soft interrupts are off, or this is one"] : []),
      ...((count & 0xff0000) !== 0 ? ["this is an interrupt"] : []),
    ];
    return {
      ...common(report, "scheduled", { name: match[1]!, id: Number(match[2]) }),
      because: because.length > 0 ? because : [`preempt_count is 0x${match[3]!}`],
    };
  },
};

export const notRunning: Sort<AtomicSleepProblem> = {
  ...sleeping,
  name: "blocking-while-waiting",
  title: /^(do not call blocking ops when !TASK_RUNNING)/,
  kinds: [],
  sections: [],
  read: (report) => {
    const match = report.need(
      report.find(/state=(\w+) set at (?:\[<[^>]*>\] )?(\S+)/),
      "where the state was set",
    );
    const who = report.find(/^(?:WARNING: )?CPU: \d+ (?:UID: \d+ )?PID: (\d+)(?: Comm: (\S+))?/);
    return {
      ...common(
        report,
        "not-running",
        who && { name: report.find(/Comm: (\S+)/)?.[1] ?? "pid", id: Number(who[1]) },
      ),
      because: [`the task is about to wait (state ${match[1]!})`],
      since: [{ fn: match[2]!, file: "", line: 0, column: 0 }],
    };
  },
};

/** The assertions that find it, and the scheduler. */
const ASSERTS =
  /^(?:_*might_(?:sleep|resched|alloc)\w*|_*cond_resched\w*|_*schedule\w*|preempt_schedule\w*|vprintk_func|printk|lockdep_rcu_suspicious|slab_pre_alloc_hook)$/;

function common(
  report: Report,
  how: AtomicSleepProblem["how"],
  task: TaskName | undefined,
): AtomicSleepProblem {
  const stack = report.backtrace();
  const first = stack.findIndex((frame) => !frame.helper && !ASSERTS.test(functionOf(frame)));
  const off = report.index(/^Preemption disabled at:/);
  return {
    kind: "atomic-sleep",
    how,
    task,
    says: "",
    because: [],
    at: first < 0 ? [] : callers(stack.slice(first)),
    since: off < 0 ? [] : report.frames(off + 1).slice(0, 1),
    held: report.held().locks,
  };
}

function words({ how, task, says, because, at: place, since, held }: AtomicSleepProblem): string[] {
  const who = task ? nameOf(task) : "A task";
  const did = {
    "might-sleep": `${who} calls a function that may sleep${says === "" ? "" : ` (it says so at ${says})`}`,
    scheduled: `${who} went to sleep`,
    "not-running": `${who} calls a function that may sleep`,
  }[how];
  const reason = because.length > 0 ? list(because) : "the report does not say why";
  const lines = [
    how === "not-running"
      ? `${did}, but ${reason}: the sleep sets the state back to running, and the wait that it prepared for may end at once or miss its wake-up.`
      : `${did}, where nothing may: ${reason}.`,
  ];
  if (held.length > 0)
    lines.push(
      `Held: ${held.map((use) => `${use.class}${use.at.length > 0 ? ` (${at(use.at)})` : ""}`).join(", ")}.`,
    );
  else if (how !== "not-running") lines.push("The report lists no lock that is held.");
  if (since.length > 0)
    lines.push(
      `${how === "not-running" ? "The state was set" : "Preemption was switched off"} at: ${at(since)}`,
    );
  lines.push(
    "",
    `Where: ${list(place.slice(0, 3).map((frame) => at([frame]))) || "the report does not say"}`,
  );
  lines.push(
    "",
    how === "not-running"
      ? "What to do: test the condition without blocking, or use wait_woken()."
      : "What to do: do it before the lock is taken or after it is released, use a variant that does not sleep (GFP_ATOMIC, a trylock), or a lock that may be held while sleeping.",
  );
  return lines;
}
