import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list, nameOf } from "../../report/words.js";
import { canWait } from "../kinds.js";
import { callers, Torn, type Report } from "../report.js";
import { head, picture, type Sort } from "./sort.js";

/** A task left a piece of code, and locks that it should have released there are still held. */
export interface StillHeldProblem {
  readonly kind: "held-at-exit";
  /** What it left: the kernel, for user space; a work of a workqueue; or itself, to end, sleep or be frozen. */
  readonly left: "kernel" | "work" | "unknown";
  readonly task: TaskName;
  /** The function of the work that leaked, or "". */
  readonly work: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

const graph = ({ task, held }: StillHeldProblem) =>
  picture(
    "Still held",
    [nameOf(task)],
    held.map((use) => ({ from: use.class, to: nameOf(task), label: ["held by", at(use.at)], culprit: true })),
  );

export const returning: Sort<StillHeldProblem> = {
  name: "held-returning",
  title: head("lock held when returning to user space!"),
  kinds: ["held-at-exit"],
  sections: ["leaving"],
  read: (report) => stillHeld(report, "kernel", report.task(/^(\S.*)\/(\d+) is leaving the kernel with/)),
  words,
  graph,
  notes: (_, report) => report.heldNotes(),
};

export const stillHolds: Sort<StillHeldProblem> = {
  ...returning,
  name: "still-held",
  title: head(String.raw`(?:\S.*\/\d+ still has locks held!|lock held at task exit time!)`),
  kinds: [],
  sections: [],
  read: (report) =>
    stillHeld(
      report,
      "unknown",
      report.task(
        /(?:(?:WARNING|BUG): |^(?!\[|WARNING|BUG))(\S.*)\/(\d+) (?:still has|is exiting with) locks/,
      ),
    ),
};

export const leaked: Sort<StillHeldProblem> = {
  ...returning,
  name: "leaked-by-work",
  title: head("workqueue leaked (?:lock or atomic|atomic, lock or RCU): .*"),
  kinds: [],
  sections: [],
  read: (report) => {
    const found = report.find(/leaked [^:]*: (\S+?)(?:\/0x[0-9a-f]+\/(\d+)|\[(\d+)\])/);
    const match = report.need(found, "the task");
    const work = report.find(/(?:last function: |workfn=)(\S+)/)?.[1] ?? "";
    const task = { name: match[1]!, id: Number(match[2] ?? match[3]) };
    return { ...stillHeld(report, "work", task, false), work };
  },
};

function stillHeld(
  report: Report,
  left: StillHeldProblem["left"],
  task: TaskName,
  needsLocks = true,
): StillHeldProblem {
  const held = report.held().locks;
  if (needsLocks && held.length === 0) throw new Torn("the list of locks held");
  return { kind: "held-at-exit", left, task, work: "", at: held.at(-1)?.at ?? [], held };
}

function words({ left, task, work, held }: StillHeldProblem): string[] {
  const who = nameOf(task);
  const what = list(held.map((use) => use.class));
  const how = {
    kernel: `${who} goes back to user space and still holds ${what}. The task runs on.`,
    work: `${work === "" ? "A work" : `The work ${work}`} has ended on ${who} and ${
      held.length > 0
        ? `still holds ${what}`
        : "left preemption off, or a lock or RCU section open; the report lists no lock"
    }. The worker runs on.`,
    unknown: `${who} still holds ${what} where it must hold nothing: it ends, or is about to be frozen or to sleep for long. The report does not say which; the stack does.`,
  }[left];
  const locks = held.filter((use) => canWait(use.class)).map((use) => use.class);
  const sections = held.filter((use) => !canWait(use.class)).map((use) => use.class);
  const lines = [how];
  if (locks.length > 0)
    lines.push(`Whoever wants ${list(locks)} waits until somebody releases it, which may be never.`);
  if (sections.length > 0)
    lines.push(`Nobody waits for ${list(sections)} itself, but no grace period ends while it is open.`);
  if (held.length > 0)
    lines.push("", ...held.map((use) => `${use.class} taken at: ${at(use.at) || "the report does not say"}`));
  return lines;
}

/** Memory is freed, or a lock initialised anew, with a lock in it that its own task holds. */
export interface FreedProblem {
  readonly kind: "held-freed";
  readonly task: TaskName;
  readonly lock: LockUse;
  /** First and last address that is freed. */
  readonly memory: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

export const freed: Sort<FreedProblem> = {
  name: "held-freed",
  title: head("held lock freed!"),
  kinds: ["held-freed"],
  sections: ["freeing"],
  read: (report) => {
    const pattern = /^(\S.*)\/(\d+) is freeing memory (\S+), with a lock still held there!/;
    const match = report.need(report.find(pattern), "the line that names the task");
    return {
      kind: "held-freed",
      task: { name: match[1]!, id: Number(match[2]) },
      memory: match[3]!,
      lock: report.lockAfter(pattern, "the lock"),
      at: callers(report.backtrace()),
      held: report.held().locks,
    };
  },
  words: ({ task, lock, memory, at: place }) => [
    `${nameOf(task)} frees, or initialises anew, the memory ${memory}, and holds ${lock.class} in it: whoever releases it, or waits for it, then touches memory that belongs to others.`,
    "",
    ...(lock.at.length > 0 ? [`Taken at: ${at(lock.at)}`] : []),
    ...(place.length > 0 ? [`Freed at: ${at(place)}`] : []),
  ],
  graph: ({ task, lock, at: place }) =>
    picture(
      "The memory of a lock that is held is freed",
      [nameOf(task)],
      [
        { from: lock.class, to: nameOf(task), label: ["held by", at(lock.at)], culprit: false },
        { from: nameOf(task), to: lock.class, label: ["frees", at(place)], culprit: true },
      ],
    ),
  notes: (_, report) => report.heldNotes(),
};
