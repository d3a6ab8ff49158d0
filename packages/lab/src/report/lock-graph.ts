import type { Problem, Task } from "@vfiokit/lockdep";
import type { Design } from "../design.js";
import { passOn } from "../pass-on.js";
import { warmUp } from "../warm-up.js";

/** "While `from` was held, `to` was taken": a wait that one task can impose on another. */
export interface LockOrder {
  readonly from: string;
  readonly to: string;
  /** Who did it first. */
  readonly task: string;
  readonly inCycle: boolean;
}

/** The classes of locks that a design's operations and resets take, and their orders. */
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
  const locks = new Set<string>();
  const orders = new Map<string, Omit<LockOrder, "inCycle">>();
  const problems = await warmUp(design, (next) => ({
    ...passOn(next),
    acquire(task, lock, access, subclass, trylock) {
      locks.add(lock.className);
      // Whoever only tries waits for nobody.
      if (!trylock) {
        for (const from of heldBy(task)) {
          const key = `${from} -> ${lock.className}`;
          if (!orders.has(key)) orders.set(key, { from, to: lock.className, task: task.name });
        }
      }
      next?.acquire(task, lock, access, subclass, trylock);
    },
  }));
  const cycle = cycleOf(problems[0]);
  const inCycle = new Set(cycle.slice(1).map((to, i) => `${cycle[i]!} -> ${to}`));
  return {
    graph: {
      locks: [...locks],
      orders: Array.from(orders, ([key, order]) => ({ ...order, inCycle: inCycle.has(key) })),
      cycle,
    },
    problems,
  };
}

/** The classes that a task holds, and those that tasks hold which await it. */
export function heldBy(task: Task): Set<string> {
  const held = new Set<string>();
  for (let at: Task | undefined = task; at; at = at.parent)
    for (const { lock } of at.holds) held.add(lock.className);
  return held;
}

function cycleOf(problem: Problem | undefined): readonly string[] {
  if (problem?.kind === "recursion") return [problem.holding.class, problem.acquiring.class];
  if (problem?.kind !== "cycle") return [];
  return [problem.orders[0]!.from, ...problem.orders.map(({ to }) => to)];
}
