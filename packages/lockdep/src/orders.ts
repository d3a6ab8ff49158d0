import { EXCLUSIVE, READ_RECURSIVE, type Access } from "./access.js";
import type { Chain } from "./chain.js";
import { heldLocks, lockUse, order, place, taskName } from "./describe.js";
import { Edge, edgeKind, strongPath, type Step } from "./graph.js";
import type { Lock } from "./lock.js";
import type { ClassNode } from "./lock-class.js";
import { contexts, type ContextRules } from "./lock-context.js";
import type { LockUse } from "./problem.js";
import { Ranks } from "./ranks.js";
import type { Reporter } from "./reporter.js";
import type { Task } from "./task.js";

/** The orders of classes that were seen, and that no two of them contradict each other. */
export class Orders {
  /** How many there are. */
  size = 0;
  readonly #ranks = new Ranks();

  /**
   * @param limit orders that there may be
   * @param exceeded there are that many, and one more
   */
  constructor(
    private readonly limit: number,
    private readonly exceeded: () => void,
    private readonly contextRules: ContextRules,
    private readonly reporter: Reporter,
  ) {}

  /** The task that has `chain` now is to have `next`, for which it may wait. */
  check(task: Task, chain: Chain, lock: Lock, next: Chain): void {
    this.#checkRecursion(task, chain, lock, next);
    this.#checkOrders(task, chain, lock, next);
  }

  /** The task wants what it holds. `isHeld` tells which of its holds that is. */
  recursion(
    task: Task,
    lock: Lock,
    node: ClassNode,
    access: Access,
    isHeld: (use: LockUse) => boolean,
    sameLock: boolean,
  ): void {
    const at = place(this.reporter.site(task, lock.entryPoints));
    this.reporter.raise(`recursion ${node.label}`, () => {
      const held = this.reporter.held(task);
      const holding = held.findLast(isHeld)!;
      return {
        kind: "recursion",
        task: taskName(task),
        acquiring: lockUse(lock, node, access, false, at),
        holding,
        sameLock: sameLock || holding.lock === lock.label,
        held,
      };
    });
  }

  #checkRecursion(task: Task, chain: Chain, lock: Lock, { node, access }: Chain): void {
    // Asking again for what one's releaser has not released yet is no mistake before one waits for it in vain.
    if (task.loose && looselyHolds(task, lock)) return;
    for (let held: Chain = chain; held.node; held = held.parent!) {
      if (held.node !== node) continue;
      if (access === READ_RECURSIVE && held.access !== EXCLUSIVE) continue;
      this.recursion(task, lock, node, access, (use) => use.class === node.label, false);
      return;
    }
  }

  /**
   * Adds the orders "every lock held -> the new one". Linux adds the nearest held lock only, and so misses a writer
   * that is hidden behind a recursive reader.
   */
  #checkOrders(task: Task, chain: Chain, lock: Lock, next: Chain): void {
    const node = next.node!;
    let shortest: { path: Step[]; closing: Step } | undefined;
    for (let held: Chain = chain; held.node; held = held.parent!) {
      if (held.node === node) continue; // recursion is another check's business
      const edge = this.#edge(held.node, node);
      if (!edge) return;
      const kind = edgeKind(held.access, next.access);
      if (edge.kinds & kind) continue;
      edge.add({ kind, held, acquired: next });
      if (contexts.length > 0) this.contextRules.ordered(task, held.node, node);
      if (edge.broken) continue;
      if (!this.#ranks.mayLeadBack(held.node, node)) continue;
      const path = strongPath(node, next.access, held.node, held.access);
      if (!path) {
        this.#ranks.giveUp();
        continue;
      }
      edge.broken = true;
      if (!shortest || path.length < shortest.path.length) shortest = { path, closing: { edge, kind } };
    }
    if (!shortest) return;
    const { path, closing } = shortest;
    const steps = [...path, closing];
    const key = steps.map(({ edge }) => `${edge.from.id}>${edge.to.id}`).sort();
    this.reporter.raise(`cycle ${key.join(" ")}`, () => {
      const held = heldLocks(task, chain);
      return {
        kind: "cycle",
        task: taskName(task),
        acquiring: lockUse(lock, node, next.access, false, place(next.site)),
        holding: held.findLast((use) => use.class === closing.edge.from.label)!,
        orders: steps.map(order),
        held,
      };
    });
  }

  #edge(from: ClassNode, to: ClassNode): Edge | undefined {
    const known = from.out.get(to);
    if (known) return known;
    if (this.size >= this.limit) {
      this.exceeded();
      return undefined;
    }
    const edge = new Edge(from, to);
    from.out.set(to, edge);
    to.into.add(from);
    this.size++;
    return edge;
  }
}

/** A part of the task holds the lock, and others may release it. */
export function looselyHolds(task: Task, lock: Lock): boolean {
  for (let at: Task | undefined = task; at; at = at.parent) if (at.loose && at.find(lock)) return true;
  return false;
}
