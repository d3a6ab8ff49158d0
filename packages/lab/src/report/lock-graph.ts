import { lockdep, type Problem } from "@vfiokit/lockdep";
import type { Design } from "../design.js";
import { warmUp } from "../warm-up.js";

/** "While `from` was held, `to` was taken": a wait that one task can impose on another. */
export interface LockOrder {
  readonly from: string;
  readonly to: string;
  /** Who did it first. */
  readonly task: string;
  readonly inCycle: boolean;
}

/** The classes of locks that a design's operations and resets take under each other. */
export interface LockGraph {
  readonly locks: readonly string[];
  readonly orders: readonly LockOrder[];
  /** The classes of the cycle, the first again at the end; empty if there is none. */
  readonly cycle: readonly string[];
}

/** What a design's orders of locks are when every operation is done once, one after the other. */
export async function observeLocks(
  design: Design,
): Promise<{ readonly graph: LockGraph; readonly problems: readonly Problem[] }> {
  const problems = await warmUp(design);
  const cycle = cycleOf(problems[0]);
  const isInCycle = (from: string, to: string): boolean =>
    cycle.some((name, i) => name === from && cycle[i + 1] === to);
  const orders = lockdep.orders.map(({ from, to, task }) => ({
    from,
    to,
    task: task.name,
    inCycle: isInCycle(from, to),
  }));
  return {
    graph: { locks: [...new Set(orders.flatMap(({ from, to }) => [from, to]))], orders, cycle },
    problems,
  };
}

function cycleOf(problem: Problem | undefined): readonly string[] {
  if (problem?.kind === "recursion") return [problem.holding.class, problem.acquiring.class];
  if (problem?.kind !== "cycle") return [];
  return [problem.orders[0]!.from, ...problem.orders.map(({ to }) => to)];
}
