import type { Edge } from "./graph.js";
import type { Lock } from "./lock.js";

/** Linux: MAX_LOCKDEP_SUBCLASSES. */
const MAX_SUBCLASSES = 8;

/** All locks that follow one order. */
export class LockClass {
  /** By subclass: what the graph is made of. */
  readonly nodes: (ClassNode | undefined)[] = [];
  /** Locks of this class that are not garbage yet, as far as the collector told. */
  live = 0;

  constructor(
    readonly name: string,
    /** Whose class this is: another validator makes its own. */
    readonly owner: ClassRegistry,
  ) {}
}

/** A class and a subclass: a node of the dependency graph. */
export class ClassNode {
  /** What was acquired while this was held. */
  readonly out = new Map<ClassNode, Edge>();
  /** What was held while this was acquired. */
  readonly into = new Set<ClassNode>();
  /** Its place in the order of all classes: see Ranks. */
  rank: number;
  usedExclusive = false;
  usedShared = false;
  /** Searches mark where they have been with their number. */
  seen = 0;
  seenRecursive = 0;

  constructor(
    readonly id: number,
    readonly lockClass: LockClass,
    readonly subclass: number,
  ) {
    this.rank = id;
  }

  /** As the kernel prints it: "memoryLock", or "memoryLock/1". */
  get label(): string {
    return this.subclass === 0 ? this.lockClass.name : `${this.lockClass.name}/${this.subclass}`;
  }
}

/** The classes that a validator knows, up to a bound. */
export class ClassRegistry {
  readonly #classes = new Map<string, LockClass>();
  readonly #collected = new FinalizationRegistry<LockClass>((lockClass) => lockClass.live--);
  #nodes = 0;

  /** @param onForget classes were dropped, and so many edges are left. */
  constructor(
    private readonly bound: number,
    private readonly onForget: (edges: number) => void,
  ) {}

  get size(): number {
    return this.#classes.size;
  }

  *nodes(): Iterable<ClassNode> {
    for (const { nodes } of this.#classes.values()) for (const node of nodes) if (node) yield node;
  }

  /** The node of a lock. Undefined at the bound. @throws RangeError for a subclass out of range */
  nodeOf(lock: Lock, subclass: number): ClassNode | undefined {
    const { lockClass } = lock;
    if (lockClass !== undefined && lockClass.owner === this) {
      const node = lockClass.nodes[subclass];
      if (node !== undefined) return node;
    }
    return this.#register(lock, subclass);
  }

  #register(lock: Lock, subclass: number): ClassNode | undefined {
    if (!Number.isInteger(subclass) || subclass < 0 || subclass >= MAX_SUBCLASSES)
      throw new RangeError(`subclass ${subclass} of ${lock.className}: 0 to ${MAX_SUBCLASSES - 1}`);
    if (lock.lockClass?.owner !== this) {
      const lockClass = this.#classes.get(lock.className) ?? this.#add(lock.className);
      if (!lockClass) return undefined;
      lockClass.live++;
      this.#collected.register(lock, lockClass);
      lock.lockClass = lockClass;
    }
    const lockClass = lock.lockClass;
    return (lockClass.nodes[subclass] ??= new ClassNode(++this.#nodes, lockClass, subclass));
  }

  #add(name: string): LockClass | undefined {
    if (this.#classes.size >= this.bound) this.#forgetCollected();
    if (this.#classes.size >= this.bound) return undefined;
    const lockClass = new LockClass(name, this);
    this.#classes.set(name, lockClass);
    return lockClass;
  }

  /**
   * Classes whose locks are all garbage can deadlock nobody. They are kept while there is room, since the next lock
   * of that class is likely to follow the same order.
   */
  #forgetCollected(): void {
    const gone = new Set<LockClass>();
    for (const lockClass of this.#classes.values()) if (lockClass.live === 0) gone.add(lockClass);
    if (gone.size === 0) return;
    let edges = 0;
    for (const lockClass of this.#classes.values()) {
      if (gone.has(lockClass)) this.#classes.delete(lockClass.name);
      else for (const node of lockClass.nodes) edges += node ? forget(node, gone) : 0;
    }
    this.onForget(edges);
  }
}

/** Drops a node's orders with classes that are gone. Returns how many it leaves by. */
function forget(node: ClassNode, gone: ReadonlySet<LockClass>): number {
  for (const to of node.out.keys()) if (gone.has(to.lockClass)) node.out.delete(to);
  for (const from of node.into) if (gone.has(from.lockClass)) node.into.delete(from);
  return node.out.size;
}
