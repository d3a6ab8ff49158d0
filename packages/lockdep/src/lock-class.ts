import type { Edge } from "./graph.js";

/** Linux: MAX_LOCKDEP_SUBCLASSES. */
export const MAX_SUBCLASSES = 8;

/** All locks that follow one order. */
export class LockClass {
  /** By subclass: what the graph is made of. */
  readonly nodes: (ClassNode | undefined)[] = [];
  /** Locks of this class that are not garbage yet, as far as the collector told. */
  live = 0;

  constructor(
    readonly name: string,
    /** The validator whose class this is; another one makes its own. */
    readonly owner: object,
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
