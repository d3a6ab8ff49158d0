import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list, nameOf } from "../../report/words.js";
import { fromCaller, functionOf } from "../frames.js";
import type { KernelLock, Report } from "../report.js";
import { picture, type Sort } from "./sort.js";

/** A task that the kernel has found waiting for too long. */
export interface HungTask {
  readonly task: TaskName;
  readonly seconds: number;
  /** Where it waits: the function that called the wait. */
  readonly at: Place;
  /** The lock it waits for: the last of its list, if its stack shows a wait for a lock. */
  readonly waitsFor: LockUse | undefined;
  /** Who has that very lock in its list besides; for an rwsem these may be other waiters. */
  readonly holders: readonly TaskName[];
}

/** Tasks that have not run for a long time, and every lock that was held then. */
export interface HungTaskProblem {
  readonly kind: "hung-tasks";
  readonly tasks: readonly HungTask[];
  /** The report has the list of all locks held. */
  readonly listed: boolean;
  /** Tasks that wait for each other in a ring. */
  readonly ring: readonly TaskName[];
}

const BLOCKED = /^INFO: task (.*):(\d+) (?:<\S+> )?blocked (?:in I\/O wait )?for more than (\d+) seconds/;
const MUTEX_OWNER =
  /^INFO: task (.*):(\d+) is blocked on an? \w+(?:,|) (?:likely |)?owned by task (.*):(\d+)/;
/** Ways to wait for a lock: the last lock of the task's list is the one, since lockdep enters it before the wait. */
const LOCK_WAIT =
  /^(?:_*mutex_lock\w*|(?:call_)?rwsem_down_\w+|_*down_(?:read|write)\w*|percpu_rwsem_wait|_*percpu_down_\w+|rt_mutex_\w+|schedule_preempt_disabled|_*rt_mutex_slowlock\w*)$/;
const WAIT =
  /^(?:_*schedule\w*|call_rwsem_\w+|folio_wait_\w+|context_switch|io_schedule\w*|_*wait_(?:on|for)\w*|do_wait_for_common|bit_wait\w*|out_of_line_wait\w*|_*switch_to|_*cond_resched\w*|preempt_schedule\w*|__flush_work|_*synchronize_(?:rcu|srcu|sched)\w*|exp_\w+|wait_rcu_gp|_*wait_rcu_gp)$/;

export const hung: Sort<HungTaskProblem> = {
  name: "hung-task",
  title: /^INFO: (task .*:\d+ (?:<\S+> )?blocked (?:in I\/O wait )?for more than \d+ seconds)/,
  kinds: ["hung-tasks"],
  sections: [],
  read,
  words,
  graph,
  notes: (problem) =>
    problem.listed
      ? []
      : [
          "The log does not have the list of all locks held: who holds what is not known (lockdep may be off).",
        ],
};

interface Holder {
  readonly task: TaskName;
  readonly locks: readonly KernelLock[];
}

function read(report: Report): HungTaskProblem {
  const showing = report.index(/^Showing all locks held in the system:/);
  const holders: Holder[] = [];
  for (let i = showing + 1; showing >= 0 && i < report.lines.length; i++) {
    const header = report.heldHeader(i);
    if (header) holders.push({ task: header.task, locks: report.heldFrom(i + 1) });
  }
  const starts = report.lines.flatMap((line, i) => (BLOCKED.test(line) ? [i] : []));
  const tasks = starts.map((start, n): HungTask => {
    const match = BLOCKED.exec(report.lines[start]!)!;
    const task = { name: match[1]!, id: Number(match[2]) };
    const trace = report.index(/^Call Trace:/i, start, (starts[n + 1] ?? report.lines.length) - start);
    const stack = trace < 0 ? [] : report.frames(trace + 1);
    const waiting = stack.findIndex((frame) => !frame.helper && !WAIT.test(functionOf(frame)));
    const forLock = stack.some((frame) => LOCK_WAIT.test(functionOf(frame)));
    const waitsFor = forLock ? holders.find((holder) => holder.task.id === task.id)?.locks.at(-1) : undefined;
    const owner = report.find(MUTEX_OWNER, start, (starts[n + 1] ?? report.lines.length) - start);
    const others =
      waitsFor === undefined || waitsFor.lock === ""
        ? []
        : holders.filter(
            (holder) => holder.task.id !== task.id && holder.locks.some((use) => use.lock === waitsFor.lock),
          );
    return {
      task,
      seconds: Number(match[3]),
      at: waiting < 0 ? [] : forLock ? fromCaller(stack.slice(waiting)) : stack.slice(waiting),
      waitsFor,
      holders: owner ? [{ name: owner[3]!, id: Number(owner[4]) }] : others.map((holder) => holder.task),
    };
  });
  return { kind: "hung-tasks", tasks, listed: showing >= 0, ring: ringOf(tasks) };
}

/**
 * A ring of hung tasks each of which waits for a lock that only the next one has. A task that itself waits for that
 * lock has it in its list too, and is no holder.
 */
function ringOf(tasks: readonly HungTask[]): TaskName[] {
  const next = new Map<number, HungTask>();
  for (const one of tasks) {
    const holders = realHolders(one, tasks);
    const other = holders.length === 1 ? tasks.find(({ task }) => task.id === holders[0]!.id) : undefined;
    if (other) next.set(one.task.id, other);
  }
  for (const start of tasks) {
    const path: HungTask[] = [];
    for (let one: HungTask | undefined = start; one; one = next.get(one.task.id)) {
      if (path.includes(one)) return path.slice(path.indexOf(one)).map(({ task }) => task);
      path.push(one);
    }
  }
  return [];
}

function realHolders({ waitsFor, holders }: HungTask, tasks: readonly HungTask[]): readonly TaskName[] {
  return holders.filter(
    ({ id }) => !tasks.some((other) => other.task.id === id && other.waitsFor?.lock === waitsFor?.lock),
  );
}

function words({ tasks, ring, listed }: HungTaskProblem): string[] {
  const lines = tasks.flatMap((one) => {
    const who = `${nameOf(one.task)} has been blocked for more than ${one.seconds} s`;
    const where = one.at.length > 0 ? ` in ${at(one.at)}` : "";
    if (!one.waitsFor)
      return [
        `${who}${where}.${listed ? " It waits for something that is no lock, or its list does not say which." : ""}`,
      ];
    const holders = realHolders(one, tasks);
    const held =
      holders.length === 0
        ? "no other task in the list holds it, as far as it goes"
        : `${list(holders.map(nameOf))} ${holders.length === 1 ? "has" : "have"} it in ${holders.length === 1 ? "its list: it holds it or waits for it" : "their lists: they hold it or wait for it"}`;
    return [
      `${who}${where}. It waits for ${one.waitsFor.class}${one.waitsFor.lock === "" ? "" : ` (${one.waitsFor.lock})`}; ${held}.`,
    ];
  });
  if (ring.length > 0)
    lines.push("", `These wait for each other in a ring, and none ever goes on: ${list(ring.map(nameOf))}.`);
  lines.push(
    "",
    "What to do: look at the task that holds what the others wait for, not at those that wait; a task that waits for no lock (I/O, a completion) is the end of the chain.",
  );
  return lines;
}

function graph({ tasks }: HungTaskProblem) {
  return picture(
    "Who waits for what, and who has it",
    tasks.flatMap((one) => [nameOf(one.task), ...one.holders.map(nameOf)]),
    tasks.flatMap((one) => {
      const lock = one.waitsFor ? `${one.waitsFor.class} ${one.waitsFor.lock}` : at(one.at) || "not told";
      return [
        {
          from: nameOf(one.task),
          to: lock,
          label: ["waits for", one.waitsFor ? at(one.at) : ""],
          culprit: true,
        },
        ...realHolders(one, tasks).map((holder) => ({
          from: lock,
          to: nameOf(holder),
          label: ["in its list"],
          culprit: false,
        })),
      ];
    }),
  );
}
