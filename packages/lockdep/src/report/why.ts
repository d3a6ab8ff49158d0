import type { HangProblem, Problem } from "../problem.js";
import { fromTheNewOrder, gatesOf } from "./schedule.js";
import { call, list, nameOf } from "./words.js";

/** The problem in one sentence, or two. */
export function why(problem: Problem): string {
  switch (problem.kind) {
    case "cycle": {
      const orders = fromTheNewOrder(problem).map(
        ({ task, from, to, acquired }) =>
          `${nameOf(task)} ${acquired === "exclusive" ? "takes" : "reads"} ${to} while it holds ${from}`,
      );
      const gates = gatesOf(problem);
      const all = orders.length === 2 ? "both are" : "they are all";
      return (
        `${list(orders)}: when ${all} under way at once, each waits for the next, and none ever goes on.` +
        (gates.length > 0
          ? ` Two of them hold ${list(gates)} besides, which keeps them apart as long as it is the same lock.`
          : "")
      );
    }
    case "recursion":
      return problem.sameLock
        ? `${nameOf(problem.task)} asks for ${problem.acquiring.class} again while it holds it: it waits for itself.`
        : `${nameOf(problem.task)} takes a second ${problem.acquiring.class} while it holds one: two tasks that do so ` +
            `in opposite order wait for each other. If there is an order among them, tell it by a subclass.`;
    case "bad-unlock":
      return `${nameOf(problem.task)} releases ${problem.class}, which it does not hold.`;
    case "held-at-exit":
      return (
        `${nameOf(problem.task)} ${problem.thrown === undefined ? "is over" : `has thrown ${problem.thrown}`} and still ` +
        `holds ${list(problem.held.map((use) => use.class))}: whoever wants it waits for ever.`
      );
    case "after-exit":
      return problem.waited
        ? `${nameOf(problem.task)} ended while a part of it waited for ${problem.acquired.class}, and has the lock now: whoever wants it may wait for ever.`
        : `${nameOf(problem.task)} takes ${problem.acquired.class} after its end: nobody checks that it lets go.`;
    case "assert":
      return `${nameOf(problem.task)} must have ${problem.class} ${problem.expected} here, and ${problem.expected === "not held" ? "holds it" : "does not"}.`;
    case "held-here":
      return `${nameOf(problem.task)} holds ${list(problem.held.map((use) => use.class))} where no lock may be held: who wants it waits as long.`;
    case "pinned":
      return `${nameOf(problem.task)} releases ${problem.class}, which is pinned: somebody relies on it being held throughout.`;
    case "context":
      return `${problem.class} is taken in ${problem.context}, and ${nameOf(problem.heldOutside.task)} holds it while ${problem.context} can begin: begun then, it waits for the task that waits for it.`;
    case "context-order":
      return `${problem.from} is taken in ${problem.context}, and ${problem.to} while ${problem.from} is held; ${nameOf(problem.heldOutside.task)} holds ${problem.to} while ${problem.context} can begin: begun then, it waits for ${problem.from}, whose holder waits for ${problem.to}, whose holder waits for ${problem.context}.`;
    case "hang":
      return `${hang(problem)}${bounds(problem)}`;
    case "long-wait": {
      const { task, waitsFor, waited, holders } = problem.tasks[0]!;
      return `${nameOf(task)} has waited ${Math.round(waited)} ms for ${call(waitsFor.access, waitsFor.class)}, held by ${list(holders.map(nameOf))}.`;
    }
    case "limit":
      return problem.what === "classes"
        ? `${problem.bound} lock classes are in use, which is the bound: locks that are made again and again want one name, as in new Mutex("session.lock"). The validator is off from here on.`
        : `${problem.bound} different orders of locks have been seen, which is the bound (configure({ limits: { edges } })). The validator is off from here on.`;
  }
}

function hang({ tasks }: HangProblem): string {
  if (tasks.length === 1)
    return `${nameOf(tasks[0]!.task)} waits for ${tasks[0]!.waitsFor.class}, which it or a task that awaits it holds: it waits for itself.`;
  const waits = tasks.map(
    ({ task, waitsFor }, i) =>
      `${nameOf(task)} waits for ${waitsFor.class}, which ${nameOf(tasks[(i + 1) % tasks.length]!.task)} holds`,
  );
  return `It has happened: ${list(waits)}.`;
}

/** What ended the hang, or can still end it. */
function bounds({ tasks, endedBy }: HangProblem): string {
  const bounded = tasks.filter((each) => each.bounded !== undefined);
  if (bounded.length === 0) return "";
  if (endedBy) {
    const { bounded: bound, waited } = bounded.find(({ task }) => task.id === endedBy.id)!;
    return ` The wait of ${nameOf(endedBy)} was bounded: a ${bound!} ended it after ${Math.round(waited)} ms, and so the deadlock.`;
  }
  const each = bounded.map(({ task, bounded: bound }) => `the ${bound!} of ${nameOf(task)}'s wait`);
  return ` Only ${list(each)} can end it, and has not done so yet.`;
}
