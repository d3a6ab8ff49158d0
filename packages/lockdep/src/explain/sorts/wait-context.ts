import type { LockUse, Place, TaskName } from "../../problem.js";
import { at, list, nameOf } from "../../report/words.js";
import { callers, type KernelLock, type Report } from "../report.js";
import { userAccess } from "../frames.js";
import { holds, takes } from "../kinds.js";
import { head, picture, type Sort } from "./sort.js";

/** A lock that may sleep, or may sleep on PREEMPT_RT, taken where that is not allowed. */
export interface WaitContextProblem {
  readonly kind: "wait-context";
  readonly task: TaskName;
  readonly lock: LockUse;
  /** The kernel's numbers: of the lock wanted, and the most that is allowed here. 1 RCU, 2 raw spinlock, then what sleeps. */
  readonly wants: number;
  readonly allowed: number;
  /** Classes held that allow no more than that; empty if it is the context itself (an interrupt). */
  readonly because: readonly string[];
  /** The access to user memory that wants the lock, or "". */
  readonly mayFault: string;
  readonly at: Place;
  readonly held: readonly LockUse[];
}

export const waitContext: Sort<WaitContextProblem> = {
  name: "wait-context",
  title: head("Invalid wait context"),
  kinds: ["wait-context"],
  sections: ["tryLock", "context"],
  read,
  words,
  graph: ({ task, lock, because, at: place }) =>
    picture(
      "Held, and what is taken meanwhile",
      [nameOf(task)],
      [
        { from: nameOf(task), to: lock.class, label: ["takes", at(place)], culprit: true },
        ...because.map((name) => ({ from: name, to: nameOf(task), label: ["held by"], culprit: false })),
      ],
    ),
  notes: (_, report) => report.heldNotes(),
};

function read(report: Report): WaitContextProblem {
  const task = report.task(/^(\S.*)\/(\d+) is trying to lock:/);
  const lock = report.lockAfter(/is trying to lock:/, "the lock that the task wants");
  const context = report.need(report.find(/^context-\{(\d+):(\d+)\}/), "the context");
  const held: readonly KernelLock[] = report.held().locks;
  const [outer, inner] = lock.waitType;
  const limits = held.map((use) => use.waitType[1]).filter((limit) => limit > 0);
  const allowed = Math.min(Number(context[2]), ...limits);
  const stack = report.backtrace();
  return {
    kind: "wait-context",
    task,
    lock,
    wants: outer || inner,
    allowed,
    because: held
      .filter((use) => use.waitType[1] === allowed && allowed < (outer || inner))
      .map((use) => use.class),
    mayFault: userAccess(stack),
    at: callers(stack, lock.at),
    held,
  };
}

function words({ task, lock, wants, allowed, because, mayFault, at: place }: WaitContextProblem): string[] {
  const who = nameOf(task);
  const did =
    mayFault === "" ? takes(lock.class, lock.access) : `may fault in ${mayFault}, which takes ${lock.class},`;
  const where =
    because.length > 0 ? `while it ${list(because.map(holds))}` : "in an interrupt or a soft interrupt";
  const lines = [
    `${who} ${did} ${where}. The kernel's wait type of ${lock.class} is ${wants}; here no more than ${allowed} is allowed${
      allowed >= wants ? " by what the report lists: the reason is not in it" : ""
    }.`,
    "1 is RCU, 2 a raw spinlock, above that come spinlocks (which sleep on PREEMPT_RT) and mutexes: what is taken inside may not wait longer than what is held outside.",
  ];
  lines.push("", `Where: ${at(place) || "the report does not say"}`);
  lines.push(
    "",
    `What to do: take ${lock.class} before, or after${because.length > 0 ? ` ${list(because)} is released` : " the interrupt, from a work"}; or make it a raw_spinlock_t if it is a spinlock that is held for short.`,
  );
  return lines;
}
