import { READ_RECURSIVE, EXCLUSIVE, type Access } from "./access.js";
import type { ClassNode } from "./lock-class.js";
import { observer } from "./observer.js";
import type { LockUse, Place, Problem } from "./problem.js";
import type { Task } from "./task.js";

/** The contexts of this program. @internal */
export const contexts: LockContext[] = [];

/**
 * Code that can begin while a task is in the middle of something else, and that this task then has to wait for: a
 * callback, an interrupt that a device model delivers (Linux: hardirq, softirq).
 *
 * A lock that is taken in the context must not be held by anybody while the context can begin; nor may, while such a
 * lock is held, one be taken that is held elsewhere while the context can begin. The validator checks both by class.
 */
export class LockContext {
  readonly #inside = new Map<Task, number>();
  readonly #off = new Map<Task, number>();

  constructor(readonly name: string) {
    contexts.push(this);
  }

  /** `task` is in the context from here on: `using _ = irq.enter(task)`. It does not begin again meanwhile. */
  enter(task: Task): Disposable {
    return counted(this.#inside, task);
  }

  /** For `task`, the context cannot begin until this is disposed of (Linux: local_irq_disable). */
  disable(task: Task): Disposable {
    return counted(this.#off, task);
  }

  /** @internal */
  isInside(task: Task): boolean {
    return has(this.#inside, task);
  }

  /** @internal */
  canBegin(task: Task): boolean {
    return !has(this.#inside, task) && !has(this.#off, task);
  }
}

function counted(counts: Map<Task, number>, task: Task): Disposable {
  counts.set(task, (counts.get(task) ?? 0) + 1);
  let over = false;
  return {
    [Symbol.dispose]() {
      if (over) return;
      over = true;
      const left = counts.get(task)! - 1;
      if (left > 0) counts.set(task, left);
      else counts.delete(task);
      observer?.contextOpened(task);
    },
  };
}

/** The task's own state, or that of one that awaits it. */
function has(counts: Map<Task, number>, task: Task): boolean {
  for (let at: Task | undefined = task; at; at = at.parent) if (counts.has(at)) return true;
  return false;
}

/** Where a class was first used so. */
interface Mark {
  readonly task: { readonly name: string; readonly id: number };
  readonly access: Access;
  readonly at: Place;
}

interface Usage {
  used?: Mark;
  held?: Mark;
}

type Raise = (task: Task, key: string, problem: (held: LockUse[], at: Place) => Problem) => void;

/** Which classes are used in which context, and held while it can begin. */
export class ContextRules {
  readonly #usage = new Map<LockContext, Map<ClassNode, Usage>>();

  constructor(
    private readonly raise: Raise,
    private readonly placeOf: (task: Task) => Place,
  ) {}

  /** `task` takes, or keeps, a lock of this class. */
  note(task: Task, node: ClassNode, access: Access, waits: boolean): void {
    for (const context of contexts) {
      const as = context.isInside(task)
        ? waits
          ? "used"
          : undefined
        : context.canBegin(task)
          ? "held"
          : undefined;
      if (!as) continue;
      const usage = this.#of(context, node);
      const before = usage[as];
      // A reader stands for itself only until a writer comes.
      if (before && (before.access === EXCLUSIVE || access !== EXCLUSIVE)) continue;
      usage[as] = { task: { name: task.name, id: task.id }, access, at: this.placeOf(task) };
      this.#checkClass(task, context, node, usage);
      for (const used of as === "used" ? [node] : reach(node, (at) => at.into))
        for (const held of as === "held" ? [node] : reach(node, forward))
          this.#checkOrder(task, context, used, held);
    }
  }

  /** A new order of two classes. */
  ordered(task: Task, from: ClassNode, to: ClassNode): void {
    for (const context of this.#usage.keys())
      for (const used of reach(from, (at) => at.into))
        for (const held of reach(to, forward)) this.#checkOrder(task, context, used, held);
  }

  #of(context: LockContext, node: ClassNode): Usage {
    let usages = this.#usage.get(context);
    if (!usages) this.#usage.set(context, (usages = new Map<ClassNode, Usage>()));
    let usage = usages.get(node);
    if (!usage) usages.set(node, (usage = {}));
    return usage;
  }

  #checkClass(task: Task, context: LockContext, node: ClassNode, { used, held }: Usage): void {
    if (!used || !held || harmless(used, held)) return;
    this.raise(task, `context ${context.name} ${node.label}`, (locks, at) => ({
      kind: "context",
      task: { name: task.name, id: task.id },
      context: context.name,
      class: node.label,
      used: { task: used.task, at: used.at },
      heldOutside: { task: held.task, at: held.at },
      at,
      held: locks,
    }));
  }

  #checkOrder(task: Task, context: LockContext, from: ClassNode, to: ClassNode): void {
    if (from === to) return;
    const used = this.#usage.get(context)?.get(from)?.used;
    const held = this.#usage.get(context)?.get(to)?.held;
    if (!used || !held) return;
    this.raise(task, `context-order ${context.name} ${from.label} ${to.label}`, (locks, at) => ({
      kind: "context-order",
      task: { name: task.name, id: task.id },
      context: context.name,
      from: from.label,
      to: to.label,
      used: { task: used.task, at: used.at },
      heldOutside: { task: held.task, at: held.at },
      at,
      held: locks,
    }));
  }
}

/** A recursive reader does not wait for a reader. */
const harmless = (used: Mark, held: Mark): boolean =>
  used.access === READ_RECURSIVE && held.access !== EXCLUSIVE;

const forward = (node: ClassNode): Iterable<ClassNode> =>
  [...node.out.values()].filter(({ broken }) => !broken).map(({ to }) => to);

/** The class, and what its orders lead to. */
function reach(start: ClassNode, next: (node: ClassNode) => Iterable<ClassNode>): Set<ClassNode> {
  const found = new Set([start]);
  for (const node of found) for (const each of next(node)) found.add(each);
  return found;
}
