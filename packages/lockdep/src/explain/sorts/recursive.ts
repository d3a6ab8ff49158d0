import type { RecursionProblem } from "../../problem.js";
import { problemGraph } from "../../report/graph.js";
import { at, nameOf } from "../../report/words.js";
import { fromCaller } from "../frames.js";
import { canWait, holds, takes } from "../kinds.js";
import { callers, type Report } from "../report.js";
import { head, type Sort } from "./sort.js";

export const recursive: Sort<RecursionProblem> = {
  name: "recursive",
  title: head("possible recursive locking detected"),
  kinds: ["recursion"],
  sections: ["acquire", "holding"],
  read,
  words,
  graph: problemGraph,
  notes: (_, report) => report.heldNotes(),
};

function read(report: Report): RecursionProblem {
  const task = report.task(/^(\S.*)\/(\d+) is trying to acquire lock:/);
  const acquiring = report.lockAfter(/is trying to acquire lock:/, "the lock that the task wants");
  const holding = report.lockAfter(/but task is already holding lock:/, "the lock that the task holds");
  const sameLock = acquiring.lock !== "" && acquiring.lock === holding.lock;
  return {
    kind: "recursion",
    task,
    acquiring: { ...acquiring, at: callers(report.backtrace(), acquiring.at).slice(0, 1) },
    holding: { ...holding, at: fromCaller(holding.at) },
    sameLock,
    held: report.held().locks,
  };
}

function words({ task, acquiring, holding, sameLock }: RecursionProblem): string[] {
  const who = nameOf(task);
  const wants = takes(acquiring.class, acquiring.access);
  const why = sameLock
    ? `${who} ${wants} (${acquiring.lock}) while it already ${holds(holding.class)}, the very same one: ` +
      (canWait(acquiring.class)
        ? "unless both are recursive reads, it waits for itself."
        : "nobody waits there.")
    : acquiring.lock === ""
      ? `${who} ${wants} while it already ${holds(holding.class)}. The report does not say whether it is the same lock: if it is, the task waits for itself; if not, two tasks that do so in opposite order wait for each other.`
      : `${who} ${wants} (${acquiring.lock}) while it already ${holds(holding.class)} (${holding.lock}), another lock of the class: two tasks that do so in opposite order wait for each other. If there is an order among the locks, tell it by a subclass, as mutex_lock_nested() does.`;
  const places = [
    ...(acquiring.at.length > 0 ? [`Wanted at: ${at(acquiring.at)}`] : []),
    ...(holding.at.length > 0 ? [`Held since: ${at(holding.at)}`] : []),
  ];
  return [why, ...(places.length > 0 ? ["", ...places] : [])];
}
