import { EXCLUSIVE, READ, type Access } from "./access.js";
import type { Chain } from "./chain.js";
import { EN, ER, SN, type Step } from "./graph.js";
import type { HoldRecord } from "./hold.js";
import type { Lock } from "./lock.js";
import type { ClassNode } from "./lock-class.js";
import type { AccessName, LockUse, Order, Place, StuckTask, TaskName } from "./problem.js";
import { frames, type Site } from "./stack.js";
import type { Task } from "./task.js";

/** From the validator's structures to the plain data of a problem, which outlives them. */

export const taskName = (task: Task): TaskName => ({ name: task.name, id: task.id });

function accessName(access: Access): AccessName {
  if (access === EXCLUSIVE) return "exclusive";
  return access === READ ? "read" : "recursive-read";
}

export const place = (site: Site | undefined): Place => (site ? frames(site) : []);

const usage = (node: ClassNode): LockUse["usage"] => ({
  exclusive: node.usedExclusive,
  shared: node.usedShared,
});

export function lockUse(lock: Lock, node: ClassNode, access: Access, trylock: boolean, at: Place): LockUse {
  return {
    lock: lock.label,
    class: node.label,
    access: accessName(access),
    trylock,
    usage: usage(node),
    at,
  };
}

/** Everything `task` holds, and what those hold that await it; `chain` says where they were taken. */
export function heldLocks(task: Task, chain: Chain): LockUse[] {
  const holds: HoldRecord[] = [];
  for (let at: Task | undefined = task; at; at = at.parent) holds.unshift(...at.records);
  const uses: LockUse[] = [];
  let link: Chain | undefined = chain;
  for (let i = holds.length - 1; i >= 0 && link?.node; i--, link = link.parent) {
    const hold = holds[i]!;
    const use = lockUse(hold.lock, link.node, hold.access, hold.trylock, place(link.site));
    const other = link.site !== undefined && link.taskId !== hold.task.id;
    uses.unshift(other ? { ...use, firstSeenBy: { name: link.task, id: link.taskId } } : use);
  }
  return uses;
}

/** One order of a cycle, with who proved it. */
export function order({ edge, kind }: Step): Order {
  const { held, acquired } = edge.occurrence(kind);
  const besides: string[] = [];
  for (let at: Chain | undefined = acquired.parent; at?.node; at = at.parent)
    if (at !== held && at.access === EXCLUSIVE) besides.unshift(at.node.label);
  return {
    from: edge.from.label,
    to: edge.to.label,
    held: kind === EN || kind === ER ? "exclusive" : accessName(held.access),
    acquired: kind === EN || kind === SN ? accessName(acquired.access) : "recursive-read",
    usage: usage(edge.to),
    task: { name: acquired.task, id: acquired.taskId },
    heldAt: place(held.site),
    at: place(acquired.site),
    besides,
  };
}

/** A task that waits, as reports name it. */
export function stuck(
  task: Task,
  waitsFor: LockUse,
  waited: number,
  held: LockUse[],
  holders: Task[],
  bounded: StuckTask["bounded"],
): StuckTask {
  const all = { task: taskName(task), waitsFor, waited, held, holders: holders.map(taskName) };
  return bounded === undefined ? all : { ...all, bounded };
}

/** What was thrown, in a line. */
export function thrownText(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}
