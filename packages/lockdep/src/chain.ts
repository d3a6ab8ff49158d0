import { EXCLUSIVE, type Access } from "./access.js";
import type { ClassNode } from "./lock-class.js";
import type { Site } from "./stack.js";
import type { Task } from "./task.js";

/**
 * What a task holds, as classes: a path from the root of a tree in which every chain ever seen is one node.
 *
 * Linux keeps a 64-bit hash of the chain; a tree costs one look-up as well, and cannot confuse two chains.
 */
export class Chain {
  readonly root: Chain;
  readonly depth: number;
  /** The orders that this chain adds to its parent were checked when a task really acquired it so. */
  checked = false;
  #children: Map<number, Chain> | undefined;

  constructor(
    readonly parent: Chain | undefined,
    readonly node: ClassNode | undefined,
    readonly access: Access,
    readonly trylock: boolean,
    /** Who took it first, and where: one stack for all that come later. */
    public task: string,
    public taskId: number,
    public site: Site | undefined,
  ) {
    this.root = parent?.root ?? this;
    this.depth = parent ? parent.depth + 1 : 0;
  }

  static root(): Chain {
    return new Chain(undefined, undefined, EXCLUSIVE, false, "", 0, undefined);
  }

  /** Somebody takes for the first time what was only the rest of a longer chain so far. */
  withSite(task: Task, site: Site | undefined): this {
    this.task = task.name;
    this.taskId = task.id;
    this.site = site;
    return this;
  }

  child(key: number): Chain | undefined {
    return this.#children?.get(key);
  }

  adopt(key: number, child: Chain): void {
    (this.#children ??= new Map()).set(key, child);
  }
}

/** A number for "this node, taken this way": unique, and small enough to need no allocation. */
export function chainKey(node: ClassNode, access: Access, trylock: boolean): number {
  return node.id * 8 + access * 2 + (trylock ? 1 : 0);
}
