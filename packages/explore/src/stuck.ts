import type { Failure } from "./failure.js";
import type { Thread } from "./thread.js";

/** Nothing can run any more: is it because of locks, or does somebody wait for what nobody will do? */
export function stuckFailure(threads: readonly Thread[]): Failure | undefined {
  const stuck = threads.filter(isStuck);
  if (stuck.length === 0) return undefined;
  const message = stuck
    .map((thread) => `${thread.name} waits for ${describeWait(thread, threads)}`)
    .join("; ");
  const lost =
    stuck.some((thread) => !waitsForThreads(thread, threads)) && !stuck.some((t) => inCycle(t, stuck));
  return { kind: lost ? "lost-wakeup" : "deadlock", message };
}

function isStuck({ ended, mustEnd, pending, waiting }: Thread): boolean {
  return (mustEnd && !ended) || pending !== undefined || waiting !== undefined;
}

/** For another task, by name; whoever waits for a condition or a channel waits for anybody. */
function waitsForThreads(thread: Thread, threads: readonly Thread[]): boolean {
  const { waiting, pending } = thread;
  if (pending?.joins ?? (waiting === undefined && goesOnAfter(thread, threads).length > 0)) return true;
  const lock = waiting?.lock ?? pending?.arrival?.lock;
  return lock !== undefined && lock.holders().length > 0;
}

/** Whom a thread waits for: holders of its lock, and those ahead of it in the queue. */
function blockers(thread: Thread, threads: readonly Thread[]): Thread[] {
  const { task, waiting, pending } = thread;
  if (pending?.joins) return [pending.joins];
  const lock = waiting?.lock ?? pending?.arrival?.lock;
  if (!lock) return goesOnAfter(thread, threads);
  const queue = lock.waiters().map((wait) => wait.task);
  const ahead = waiting ? queue.slice(0, queue.indexOf(task!)) : [];
  const tasks = [...lock.holders(), ...ahead];
  return threads.filter((other) => other.task && tasks.includes(other.task));
}

/**
 * Code that locks in the names of tasks of its own, as the drop-in for async-mutex does: it goes on when they have the
 * lock, and what they hold is given back by it.
 */
function goesOnAfter(thread: Thread, threads: readonly Thread[]): Thread[] {
  if (thread.mustEnd) return threads.filter(({ parent, ...child }) => parent === thread && child.waiting);
  return thread.parent && !thread.pending ? [thread.parent] : [];
}

function inCycle(start: Thread, threads: readonly Thread[]): boolean {
  const seen = new Set<Thread>();
  const next = blockers(start, threads);
  for (let thread = next.pop(); thread; thread = next.pop()) {
    if (thread === start) return true;
    if (seen.has(thread)) continue;
    seen.add(thread);
    next.push(...blockers(thread, threads));
  }
  return false;
}

function describeWait({ task, waiting, pending }: Thread, threads: readonly Thread[]): string {
  if (pending?.joins) return `${pending.joins.name} to end`;
  const lock = waiting?.lock ?? pending?.arrival?.lock;
  if (!lock) return "something that nobody does";
  // In the order of the threads: who came first is another execution, not another failure.
  const held = lock.holders();
  if (held.length === 0) return lock.className;
  const holders = threads.flatMap((thread) =>
    held.filter((holder) => holder === thread.task).map(({ name }) => name),
  );
  const queue = lock.waiters().map((wait) => wait.task);
  const ahead = queue.slice(0, Math.max(0, queue.indexOf(task!))).map(({ name }) => name);
  const behind = ahead.length > 0 ? `, behind ${ahead.join(", ")}` : "";
  return `${lock.className}, held by ${holders.join(", ")}${behind}`;
}
