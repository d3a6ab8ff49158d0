import type { ClassNode } from "./lock-class.js";

/**
 * An order of all classes in which every edge leads upwards, kept up as edges come (Pearce and Kelly, "A dynamic
 * topological sort algorithm for directed acyclic graphs", 2007). An edge that agrees with it closes no cycle, which
 * takes one comparison to see; one that does not costs a look at the classes between its two ends.
 */
export class Ranks {
  /** False once recursive readers have made a cycle that is harmless: then there is no such order. */
  #exists = true;

  /** May a path lead back from `to` to `from`? The edge from -> to is in the graph already. */
  mayLeadBack(from: ClassNode, to: ClassNode): boolean {
    if (!this.#exists) return true;
    if (from.rank < to.rank) return false;
    const above = reach(to, from.rank, from);
    if (!above) return true;
    const below = reachBack(from, to.rank);
    const nodes = [...byRank(below), ...byRank(above)];
    const ranks = nodes.map((node) => node.rank).sort((a, b) => a - b);
    nodes.forEach((node, i) => (node.rank = ranks[i]!));
    return false;
  }

  /** The last edge closed a cycle that is none for the validator. */
  giveUp(): void {
    this.#exists = false;
  }
}

const byRank = (nodes: Iterable<ClassNode>): ClassNode[] => [...nodes].sort((a, b) => a.rank - b.rank);

/** What is reached from `start` without going above `limit`; undefined if `target` is. */
function reach(start: ClassNode, limit: number, target: ClassNode): Set<ClassNode> | undefined {
  const found = new Set([start]);
  for (const node of found)
    for (const edge of node.out.values()) {
      if (edge.broken || edge.to.rank > limit) continue;
      if (edge.to === target) return undefined;
      found.add(edge.to);
    }
  return found;
}

/** From where `start` is reached without going below `limit`. */
function reachBack(start: ClassNode, limit: number): Set<ClassNode> {
  const found = new Set([start]);
  for (const node of found)
    for (const before of node.into)
      if (before.rank >= limit && !before.out.get(node)!.broken) found.add(before);
  return found;
}
