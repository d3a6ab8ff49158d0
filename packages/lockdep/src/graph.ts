import { EXCLUSIVE, READ_RECURSIVE, type Access } from "./access.js";
import type { Chain } from "./chain.js";
import type { ClassNode } from "./lock-class.js";
import type { TaskName } from "./problem.js";

/**
 * The kinds of a dependency A -> B (lockdep-design.rst, "Recursive read locks"): A held exclusively (E) or shared
 * (S), B acquired by a recursive reader (R) or by anybody else (N). The N comes first in each pair: it is preferred
 * by a search.
 */
export const EN = 1;
export const ER = 2;
export const SN = 4;
export const SR = 8;
const KINDS = [EN, SN, ER, SR] as const;
export type EdgeKind = (typeof KINDS)[number];

export function edgeKind(held: Access, acquired: Access): EdgeKind {
  if (held === EXCLUSIVE) return acquired === READ_RECURSIVE ? ER : EN;
  return acquired === READ_RECURSIVE ? SR : SN;
}

/** Who proved an edge first: the chain that ends in the lock held, and the one that ends in the lock acquired. */
export interface Occurrence {
  readonly kind: EdgeKind;
  readonly held: Chain;
  readonly acquired: Chain;
}

/** An order for those who keep what many programs have shown: plain data. */
export interface SeenOrder {
  /** As in reports: "memoryLock", or "memoryLock/1" for a subclass. */
  readonly from: string;
  readonly to: string;
  /** As the kernel writes them: held exclusively (E) or shared (S), acquired by a recursive reader (R) or not (N). */
  readonly kinds: readonly ("EN" | "SN" | "ER" | "SR")[];
  /** Who did it first. */
  readonly task: TaskName;
}

const KIND_NAMES = { [EN]: "EN", [SN]: "SN", [ER]: "ER", [SR]: "SR" } as const;

/** While `from` was held, `to` was acquired. */
export class Edge {
  /** The kinds seen, as a mask. */
  kinds = 0;
  /** An order that was reported: searches leave it out, so that one mistake is one report. */
  broken = false;
  readonly #occurrences: Occurrence[] = [];

  constructor(
    readonly from: ClassNode,
    readonly to: ClassNode,
  ) {}

  add(occurrence: Occurrence): void {
    this.kinds |= occurrence.kind;
    this.#occurrences.push(occurrence);
  }

  /** As plain data. */
  get order(): SeenOrder {
    return {
      from: this.from.label,
      to: this.to.label,
      kinds: KINDS.filter((kind) => this.kinds & kind).map((kind) => KIND_NAMES[kind]),
      task: { name: this.#occurrences[0]!.acquired.task, id: this.#occurrences[0]!.acquired.taskId },
    };
  }

  occurrence(kind: EdgeKind): Occurrence {
    return this.#occurrences.find((occurrence) => occurrence.kind === kind)!;
  }
}

/** One step of a path: an edge, in one of its kinds. */
export interface Step {
  readonly edge: Edge;
  readonly kind: EdgeKind;
}

interface Visit extends Step {
  readonly before: Visit | undefined;
  /** The node was reached by a recursive read: only an exclusive holder can block that. */
  readonly recursive: boolean;
}

let searches = 0;

/**
 * The shortest strong path from a lock about to be acquired to one that is held, or undefined. With the dependency
 * held -> acquired it closes a cycle that can deadlock.
 *
 * A path is strong unless it has "-(*R)->" followed by "-(S*)->": a recursive reader does not wait for a reader
 * (lockdep-design.rst, "Strong dependency paths"). The same rule holds where the ends meet.
 */
export function strongPath(
  from: ClassNode,
  acquired: Access,
  to: ClassNode,
  held: Access,
): Step[] | undefined {
  const search = ++searches;
  const queue: Visit[] = [];
  const visit = (node: ClassNode, recursive: boolean, before: Visit | undefined): Visit | undefined => {
    for (const edge of node.out.values()) {
      if (edge.broken) continue;
      const kinds = recursive ? edge.kinds & (EN | ER) : edge.kinds;
      const kind = KINDS.find((candidate) => kinds & candidate);
      if (kind === undefined) continue;
      const next: Visit = { edge, kind, before, recursive: kind === ER || kind === SR };
      if (edge.to === to && (held === EXCLUSIVE || !next.recursive)) return next;
      // Reached by anything but a recursive read, a node can be left in every way: nothing is better.
      if (edge.to.seen === search || (next.recursive && edge.to.seenRecursive === search)) continue;
      if (next.recursive) edge.to.seenRecursive = search;
      else edge.to.seen = search;
      queue.push(next);
    }
    return undefined;
  };
  let found = visit(from, acquired === READ_RECURSIVE, undefined);
  for (let i = 0; !found && i < queue.length; i++) {
    const at = queue[i]!;
    found = visit(at.edge.to, at.recursive, at);
  }
  if (!found) return undefined;
  const path: Step[] = [];
  for (let at: Visit | undefined = found; at; at = at.before) path.unshift({ edge: at.edge, kind: at.kind });
  return path;
}
