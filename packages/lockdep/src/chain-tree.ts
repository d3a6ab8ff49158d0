import type { Access } from "./access.js";
import { Chain, chainKey } from "./chain.js";
import type { Lock } from "./lock.js";
import type { ClassNode } from "./lock-class.js";
import type { Site } from "./stack.js";
import type { Task } from "./task.js";

/** The chains seen so far, and which of them each task has now: a cache, which may be dropped at any time. */
export class ChainTree {
  #root = Chain.root();
  #size = 0;

  /**
   * @param limit chains that it may have
   * @param nodeOf the lock's class; undefined if there are too many
   */
  constructor(
    private readonly limit: number,
    private readonly nodeOf: (lock: Lock, subclass: number) => ClassNode | undefined,
  ) {}

  get size(): number {
    return this.#size;
  }

  get isFull(): boolean {
    return this.#size >= this.limit;
  }

  /** What the tasks hold now is learned afresh. */
  forget(): void {
    this.#root = Chain.root();
    this.#size = 0;
  }

  /** What the task holds, and what those hold that await it. */
  of(task: Task): Chain {
    const { chain } = task;
    if (chain === undefined || chain.root !== this.#root) return this.#rebuild(task);
    // Whoever awaits the task may have let go of a lock since.
    return task.parent === undefined || this.of(task.parent) === task.base ? chain : this.#rebuild(task);
  }

  /** The chain of who has `chain` and takes one more lock, there. */
  take(
    chain: Chain,
    node: ClassNode,
    access: Access,
    trylock: boolean,
    task: Task,
    site: Site | undefined,
  ): Chain {
    const known = chain.child(chainKey(node, access, trylock));
    return known?.withSite(task, site) ?? this.#extend(chain, node, access, trylock, task, site);
  }

  /** After a release out of order, a downgrade, or while nobody watched. */
  #rebuild(task: Task): Chain {
    let chain = task.parent ? this.of(task.parent) : this.#root;
    task.base = chain;
    for (const { lock, subclass, access, trylock } of task.records) {
      const node = this.nodeOf(lock, subclass);
      if (!node) break;
      // Not checked, and no site: nobody acquired these in this order just now.
      chain =
        chain.child(chainKey(node, access, trylock)) ??
        this.#extend(chain, node, access, trylock, task, undefined);
    }
    task.chain = chain;
    return chain;
  }

  #extend(
    parent: Chain,
    node: ClassNode,
    access: Access,
    trylock: boolean,
    task: Task,
    site: Site | undefined,
  ): Chain {
    const chain = new Chain(parent, node, access, trylock, task.name, task.id, site);
    parent.adopt(chainKey(node, access, trylock), chain);
    this.#size++;
    return chain;
  }
}
