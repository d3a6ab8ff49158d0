import { unseen } from "./scheduler.js";
import type { Task } from "./task.js";
import type { Waiter } from "./wait-queue.js";

/**
 * Looks for a real hang through a wait that has just begun: waits of which each is for a lock held by the task of
 * the next one, the last for one held by the first. Undefined if there is none.
 *
 * Whoever waits, waits for the holders: those ahead in the queue wait for the same holders, so a cycle through one
 * of them is a cycle without it.
 */
export function findHang(start: Waiter): Waiter[] | undefined {
  const visited = new Set<Waiter>();
  const path: Waiter[] = [];
  const blocked = (waiter: Waiter): boolean => {
    visited.add(waiter);
    path.push(waiter);
    for (const holder of unseen(() => waiter.lock.holders())) {
      if (awaits(holder, start.task)) return true;
      for (const next of waitsOf(holder)) if (!visited.has(next) && blocked(next)) return true;
    }
    path.pop();
    return false;
  };
  return blocked(start) && lastsForEver(start) ? path : undefined;
}

/** A semaphore has several holders, and one that is not stuck may be enough. */
function lastsForEver(start: Waiter): boolean {
  const waits = new Set([start]);
  for (const { lock } of waits)
    for (const holder of unseen(() => lock.holders())) for (const next of waitsOf(holder)) waits.add(next);
  const stuck = (task: Task): boolean => [...waitsOf(task)].some((wait) => waits.has(wait));
  let before: number;
  do {
    before = waits.size;
    for (const wait of waits) if (unseen(() => wait.lock.canEnd(wait, stuck))) waits.delete(wait);
  } while (waits.size < before);
  return waits.has(start);
}

/** A task goes on only when its own wait ends, and those of the tasks that it awaits. */
function* waitsOf(task: Task): Iterable<Waiter> {
  if (task.waiting) yield task.waiting;
  if (task.childWaits) yield* task.childWaits;
}

function awaits(task: Task, descendant: Task): boolean {
  for (let at: Task | undefined = descendant; at; at = at.parent) if (at === task) return true;
  return false;
}

export function beginWait(waiter: Waiter): void {
  waiter.task.waiting = waiter;
  for (let at = waiter.task.parent; at; at = at.parent) (at.childWaits ??= new Set()).add(waiter);
}

export function endWait(waiter: Waiter): void {
  if (waiter.task.waiting === waiter) waiter.task.waiting = undefined;
  for (let at = waiter.task.parent; at; at = at.parent) at.childWaits?.delete(waiter);
}
