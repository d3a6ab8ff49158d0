import type { CycleProblem, LockUse, Place, Problem, Schedule, StuckTask, TaskName } from "../problem.js";
import { cheapestToBreak } from "./cheapest.js";
import { fromTheNewOrder, scheduleOf } from "./schedule.js";
import { why } from "./why.js";
import { at, call, columns, nameOf, stackLines, usageOf } from "./words.js";

/**
 * The report in the form of the Linux kernel's, so that who reads one reads the other, and below it the reason in a
 * sentence and a schedule that hangs.
 * @param schedule one that was really found, or "none" if all were tried and none hangs; default: one made of the
 *   cycle's orders.
 */
export function formatProblem(problem: Problem, schedule?: Schedule | "none"): string {
  const lines = [...body(problem), "", `Why: ${why(problem)}`];
  const hanging = schedule ?? (problem.kind === "cycle" ? scheduleOf(problem) : undefined);
  if (hanging === "none")
    lines.push(
      "",
      "Every interleaving of these tasks was tried, and none hangs: something else keeps them apart. The order is",
      "wrong all the same, and a deadlock as soon as that something goes.",
    );
  else if (hanging) lines.push("", "A schedule that hangs:", "", ...formatSchedule(hanging));
  if (problem.kind === "cycle") lines.push("", `Cheapest to break: ${cheapestToBreak(problem).advice}`);
  return `${lines.join("\n")}\n`;
}

/** Wider than this, columns are harder to read than a list. */
const MAX_WIDTH = 110;

/** One column a task and one line a move, or a list if that is too wide; a task that waits for ever says for whom. */
export function formatSchedule({ tasks, moves }: Schedule): string[] {
  const waits = (other: number | undefined): string =>
    other === undefined ? "" : `waits for ${tasks[other]!}`;
  const table = columns([
    tasks,
    tasks.map((name) => "-".repeat(name.length)),
    ...moves.map(({ task, text, waitsFor }) => [
      ...tasks.map((_, i) => (i === task ? text : "")),
      waits(waitsFor),
    ]),
  ]);
  const lines = table.every((line) => line.length <= MAX_WIDTH)
    ? table
    : columns(moves.map(({ task, text, waitsFor }) => [tasks[task]!, text, waits(waitsFor)]));
  return lines.map((line) => `  ${line}`.trimEnd());
}

function body(problem: Problem): string[] {
  switch (problem.kind) {
    case "cycle":
      return cycle(problem);
    case "recursion":
      return [
        ...header("possible recursive locking detected"),
        `${nameOf(problem.task)} is trying to acquire lock:`,
        use(problem.acquiring),
        "",
        "but task is already holding lock:",
        use(problem.holding),
        "",
        "other info that might help us debug this:",
        " Possible unsafe locking scenario:",
        "",
        "       CPU0",
        "       ----",
        `  ${call(problem.holding.access, problem.holding.class)};`,
        `  ${call(problem.acquiring.access, problem.acquiring.class)};`,
        "",
        " *** DEADLOCK ***",
        "",
        ...(problem.sameLock ? [] : [" May be due to missing lock nesting notation", ""]),
        ...held(problem.task, problem.held),
        ...backtrace(problem.acquiring.at),
      ];
    case "bad-unlock":
      return [
        ...header("bad unlock balance detected!"),
        `${nameOf(problem.task)} is trying to release lock (${problem.class}) at:`,
        at(problem.at),
        problem.held.length === 0
          ? "but there are no more locks to release!"
          : "but it does not hold that lock!",
        "",
        "other info that might help us debug this:",
        ...evidence(problem),
      ];
    case "held-at-exit":
      return [...header(`${nameOf(problem.task)} still has locks held!`), ...evidence(problem)];
    case "after-exit":
      return [
        ...header(`${nameOf(problem.task)} was given a lock, and is over!`),
        use(problem.acquired),
        "",
        ...held(problem.task, problem.held),
        ...backtrace(problem.acquired.at),
      ];
    case "assert":
      return [
        ...header(`lock (${problem.class}) is not in the state asserted`),
        `${nameOf(problem.task)} asserts that ${problem.lock} (${problem.class}) is ${problem.expected}, at:`,
        at(problem.at),
        "",
        ...evidence(problem),
      ];
    case "held-here":
      return [...header("locks are held where none may be"), ...evidence(problem)];
    case "pinned":
      return [
        ...header("releasing a pinned lock"),
        `${nameOf(problem.task)} is trying to release lock (${problem.class}) at:`,
        at(problem.at),
        "",
        ...evidence(problem),
      ];
    case "context":
      return [
        ...header("inconsistent lock state"),
        `inconsistent {IN-${problem.context}} and {${problem.context}-ON} usage.`,
        `taken in ${problem.context}, by ${nameOf(problem.used.task)}:`,
        ...stackLines(problem.used.at, "  "),
        `held while ${problem.context} can begin, by ${nameOf(problem.heldOutside.task)}:`,
        ...stackLines(problem.heldOutside.at, "  "),
        "",
        ...contextScenario(problem.class, problem.class, problem.context),
        ...evidence(problem),
      ];
    case "context-order":
      return [
        ...header(`${problem.context}-safe -> ${problem.context}-unsafe lock order detected`),
        `${problem.from} is taken in ${problem.context}, by ${nameOf(problem.used.task)}:`,
        ...stackLines(problem.used.at, "  "),
        `${problem.to} is held while ${problem.context} can begin, by ${nameOf(problem.heldOutside.task)}:`,
        ...stackLines(problem.heldOutside.at, "  "),
        "",
        ...contextScenario(problem.from, problem.to, problem.context),
        ...evidence(problem),
      ];
    case "hang":
      return [
        ...header(`deadlock: tasks wait${problem.endedBy ? "ed" : ""} for each other`),
        ...problem.tasks.flatMap(stuck),
      ];
    case "long-wait":
      return [...header("a task has waited for a lock for a long time"), ...problem.tasks.flatMap(stuck)];
    case "limit":
      return header(`BUG: MAX_LOCKDEP_${problem.what.toUpperCase()} too low!`);
  }
}

function cycle(problem: CycleProblem): string[] {
  const { acquiring, holding, orders } = problem;
  const lines = [
    ...header("possible circular locking dependency detected"),
    `${nameOf(problem.task)} is trying to acquire lock:`,
    use(acquiring),
    "",
    "but task is already holding lock:",
    use(holding),
    "",
    "which lock already depends on the new lock.",
    "",
    "",
    "the existing dependency chain (in reverse order) is:",
    "",
  ];
  // Entry #n shows where its lock was taken while that of #n+1's place in the cycle was held: the new order is #0.
  const entries = fromTheNewOrder(problem);
  for (let i = entries.length - 1; i >= 0; i--) {
    const order = entries[i]!;
    lines.push(`-> #${i} (${order.to})${usageOf(order)}:`, ...stackLines(order.at, "       "), "");
  }
  lines.push("other info that might help us debug this:", "");
  const parent = orders[orders.length - 2]!.from;
  if (parent !== acquiring.class)
    lines.push("Chain exists of:", `  ${acquiring.class} --> ${parent} --> ${holding.class}`, "");
  const second = " ".repeat(31);
  lines.push(
    " Possible unsafe locking scenario:",
    "",
    "       CPU0                    CPU1",
    "       ----                    ----",
    `  ${call(holding.access, holding.class)};`,
    `${second}lock(${parent});`,
    `${second}lock(${holding.class});`,
    `  ${call(acquiring.access, acquiring.class)};`,
    "",
    " *** DEADLOCK ***",
    "",
    ...held(problem.task, problem.held),
    ...backtrace(acquiring.at),
  );
  return lines;
}

function header(warning: string): string[] {
  const title = `WARNING: ${warning}`;
  return ["", "=".repeat(title.length), title, "@vfiokit/lockdep", "-".repeat(title.length)];
}

/** Who waits for whom, if the context begins at the worst time. */
function contextScenario(safe: string, unsafe: string, context: string): string[] {
  const second = " ".repeat(31);
  const other = safe === unsafe ? [] : [`${second}lock(${safe});`, `${second}lock(${unsafe});`];
  return [
    " Possible unsafe locking scenario:",
    "",
    safe === unsafe ? "       CPU0" : "       CPU0                    CPU1",
    safe === unsafe ? "       ----" : "       ----                    ----",
    `  lock(${unsafe});`,
    ...other,
    `  <${context}>`,
    `    lock(${safe});`,
    "",
    " *** DEADLOCK ***",
    "",
  ];
}

function use(lock: LockUse): string {
  const where = at(lock.at);
  const seen = lock.firstSeenBy ? `first seen (by ${nameOf(lock.firstSeenBy)}) at` : "at";
  return `${lock.lock} (${lock.class})${usageOf(lock)}${where === "" ? "" : `, ${seen}: ${where}`}`;
}

/** What the task held, and where it was. */
function evidence(problem: {
  readonly task: TaskName;
  readonly held: readonly LockUse[];
  readonly at: Place;
}) {
  return [...held(problem.task, problem.held), ...backtrace(problem.at)];
}

function held(task: TaskName, locks: readonly LockUse[]): string[] {
  return [
    `locks held by ${nameOf(task)}: ${locks.length}`,
    ...locks.map((lock, i) => ` #${i}: ${use(lock)}${lock.access === "exclusive" ? "" : `, ${lock.access}`}`),
  ];
}

function backtrace(place: LockUse["at"]): string[] {
  return place.length === 0 ? [] : ["", "stack backtrace:", ...stackLines(place, "  ")];
}

function stuck({ task, waitsFor, waited, held: locks, holders, bounded }: StuckTask): string[] {
  return [
    `${nameOf(task)} has waited ${Math.round(waited)} ms for ${call(waitsFor.access, waitsFor.class)}, held by ${holders.map(nameOf).join(", ")}:`,
    ...(bounded ? [`(a wait that is bounded by a ${bounded})`] : []),
    use(waitsFor),
    ...held(task, locks),
    "",
  ];
}
