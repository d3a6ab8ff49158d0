import type { CycleProblem, Order, Schedule } from "../problem.js";
import { call, nameOf } from "./words.js";

type Move = Schedule["moves"][number];

/** The order that is new, then the way back to it: each one's lock wanted is the next one's lock held. */
export function fromTheNewOrder(cycle: Pick<CycleProblem, "orders">): Order[] {
  return [cycle.orders[cycle.orders.length - 1]!, ...cycle.orders.slice(0, -1)];
}

/**
 * A schedule that hangs: one task for each order of the cycle; each takes its first lock, then asks for its second.
 * A reader that would wait for a reader only does so behind a writer that waits, so that writer comes in too.
 */
export function scheduleOf(cycle: Pick<CycleProblem, "orders">): Schedule {
  const orders = fromTheNewOrder(cycle);
  const tasks: string[] = [];
  for (const order of orders) {
    const name = nameOf(order.task);
    tasks.push(tasks.includes(name) ? `another ${order.task.name}` : name);
  }
  const holds: Move[] = orders.map((order, task) => ({ task, text: call(order.held, order.from) }));
  const writers: Move[] = [];
  const waits: Move[] = orders.map((order, task) => {
    let waitsFor = (task + 1) % orders.length;
    const holder = orders[waitsFor]!;
    if (order.acquired !== "exclusive" && holder.held !== "exclusive") {
      const writer = tasks.push(`a writer of ${order.to}`) - 1;
      writers.push({ task: writer, text: call("exclusive", order.to), waitsFor });
      waitsFor = writer;
    }
    return { task, text: call(order.acquired, order.to), waitsFor };
  });
  return { tasks, moves: [...holds, ...writers, ...waits] };
}

/**
 * Classes that two of the tasks hold besides, exclusively: if that is always the same lock, those two never overlap,
 * and the order is wrong but does not hang as things are.
 */
export function gatesOf(cycle: Pick<CycleProblem, "orders">): string[] {
  const seen = new Set<string>();
  const gates = new Set<string>();
  for (const { besides } of cycle.orders)
    for (const lockClass of new Set(besides)) {
      if (seen.has(lockClass)) gates.add(lockClass);
      seen.add(lockClass);
    }
  return [...gates];
}
