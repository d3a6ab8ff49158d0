import type { LockUse, TaskName } from "../../problem.js";
import { at, nameOf } from "../../report/words.js";
import { callers, type Report } from "../report.js";
import { head, picture, type Sort } from "./sort.js";

/** mutex_lock_nest_lock(lock, outer) without holding outer, which is what makes the nesting safe. */
export interface NestedProblem {
  readonly kind: "nested-not-held";
  readonly task: TaskName;
  readonly lock: LockUse;
  /** The class that should be held; undefined where the report is cut before it. */
  readonly outer: string | undefined;
  readonly held: readonly LockUse[];
}

export const nested: Sort<NestedProblem> = {
  name: "nested-not-held",
  title: head("Nested lock was not taken"),
  kinds: ["nested-not-held"],
  sections: ["tryLock", "notHolding"],
  read: (report: Report) => {
    const lock = report.lockAfter(/is trying to lock:/, "the lock that the task wants");
    const header = report.need(
      at0(report.index(/^but this task is not holding:/)),
      "the lock that is not held",
    );
    const name = report.lines.slice(header + 1, header + 3).find((line) => line !== "" && /^\S+$/.test(line));
    return {
      kind: "nested-not-held",
      task: report.task(/^(\S.*)\/(\d+) is trying to lock:/),
      lock: { ...lock, at: callers(report.backtrace(), lock.at).slice(0, 1) },
      outer: name,
      held: report.held().locks,
    };
  },
  words: ({ task, lock, outer }) => [
    `${nameOf(task)} takes ${lock.class} and says that ${outer ?? "an outer lock"} is held meanwhile, which makes it safe to hold several of ${lock.class}. It is not held.` +
      (outer === undefined ? " The report is cut before the name of the outer lock." : ""),
    "",
    `Where: ${at(lock.at) || "the report does not say"}`,
  ],
  graph: ({ task, lock, outer }) =>
    picture(
      "Nested under a lock that is not held",
      [nameOf(task)],
      [
        { from: nameOf(task), to: lock.class, label: ["takes", at(lock.at)], culprit: true },
        {
          from: lock.class,
          to: outer ?? "not told",
          label: ["nests in, but it is not held"],
          culprit: false,
        },
      ],
    ),
  notes: (_, report) => report.heldNotes(),
};

const at0 = (index: number): number | undefined => (index < 0 ? undefined : index);
