import { EXCLUSIVE, type Access } from "./access.js";
import { chainKey, type Chain } from "./chain.js";
import { ChainTree } from "./chain-tree.js";
import { place, taskName } from "./describe.js";
import { Exits, over } from "./exits.js";
import type { SeenOrder } from "./graph.js";
import { Hangs } from "./hangs.js";
import type { HoldRecord } from "./hold.js";
import type { Lock } from "./lock.js";
import { ClassRegistry, type ClassNode } from "./lock-class.js";
import { ContextRules, contexts } from "./lock-context.js";
import type { LockObserver } from "./observer.js";
import { Orders } from "./orders.js";
import type { AssertProblem, LockUse, Place, Problem } from "./problem.js";
import { Reporter, type Sink } from "./reporter.js";
import type { EntryPoints, Site } from "./stack.js";
import type { Task } from "./task.js";
import type { Waiter } from "./wait-queue.js";

export interface Limits {
  /** Lock classes. Linux: MAX_LOCKDEP_KEYS, 8191. */
  readonly classes: number;
  /** Orders of two classes, each with a stack for every kind it was seen in. */
  readonly edges: number;
  /** Chains of held classes, a cache: at the bound it is dropped and learned afresh. */
  readonly chains: number;
}

export const DEFAULT_LIMITS: Limits = { classes: 8191, edges: 262_144, chains: 131_072 };

export interface ValidatorOptions {
  readonly limits: Limits;
  /** Waits longer than this many milliseconds are reported. */
  readonly waitTimeout: number | undefined;
  readonly sink: Sink;
  /** Where a task is now. Default: the stack of the caller. */
  readonly site?: (task: Task) => Site | undefined;
}

/**
 * Proves that the tasks' locks cannot deadlock, from orders each seen once (Linux: kernel/locking/lockdep.c).
 *
 * A chain of holds that was checked before costs one look-up in a map; a new one is checked against every lock held,
 * by a search for a path back in the graph of orders.
 */
export class Validator implements LockObserver {
  readonly #classes: ClassRegistry;
  readonly #chains: ChainTree;
  readonly #orders: Orders;
  readonly #contexts: ContextRules;
  readonly #hangs: Hangs;
  readonly #exits: Exits;
  readonly #reporter: Reporter;
  #off = false;

  constructor(private readonly options: ValidatorOptions) {
    const { limits, sink, site } = options;
    const nodeOf = (lock: Lock, subclass: number): ClassNode | undefined => this.#nodeOf(lock, subclass);
    this.#classes = new ClassRegistry(limits.classes, (edges) => {
      this.#orders.size = edges;
      this.#chains.forget();
    });
    this.#chains = new ChainTree(limits.chains, nodeOf);
    const reporter = new Reporter(sink, site, this.#chains);
    this.#reporter = reporter;
    this.#contexts = new ContextRules(
      (...problem) => reporter.raiseHere(...problem),
      (task) => place(reporter.site(task, [])),
    );
    this.#orders = new Orders(limits.edges, () => this.#limit("edges"), this.#contexts, reporter);
    this.#hangs = new Hangs(options, nodeOf, reporter);
    this.#exits = new Exits(reporter);
  }

  get stats(): { classes: number; edges: number; chains: number } {
    return { classes: this.#classes.size, edges: this.#orders.size, chains: this.#chains.size };
  }

  /** Every order seen. */
  get orders(): SeenOrder[] {
    return [...this.#classes.nodes()].flatMap((node) => [...node.out.values()].map((edge) => edge.order));
  }

  /** Watching again after a pause: what the tasks hold now was not seen being taken. */
  resume(): void {
    this.#chains.forget();
  }

  /** No event can end a wait any more. */
  finish(): void {
    this.#hangs.finish();
  }

  // ---- what the locks tell: LockObserver ----

  acquire(task: Task, lock: Lock, access: Access, subclass: number, trylock: boolean): void {
    if (this.#off) return;
    const chain = this.#chains.of(task);
    const node = this.#nodeOf(lock, subclass);
    if (!node) return;
    if (task.over) this.#exits.takes(task, lock, node, access);
    const known = chain.child(chainKey(node, access, trylock));
    if (contexts.length > 0) this.#contexts.note(task, node, access, !trylock);
    task.pending = known?.checked ? known : this.#check(task, chain, lock, node, access, trylock);
  }

  contended(waiter: Waiter): void {
    if (!this.#off) this.#hangs.begin(waiter);
  }

  abandoned(waiter: Waiter): void {
    this.#hangs.abandoned(waiter);
    waiter.task.pending = undefined;
  }

  acquired(hold: HoldRecord): void {
    const { task, lock } = hold;
    const waited = task.waiting?.lock === lock ? task.waiting : undefined;
    if (waited) this.#hangs.granted(waited);
    const { pending } = task;
    // Another wait of the same task in between would have changed the chain: then it is built afresh.
    task.chain = pending !== undefined && pending.parent === task.chain ? pending : undefined;
    task.pending = undefined;
    if (!waited) return;
    const ended = over(task);
    const node = ended && this.#nodeOf(lock, hold.subclass);
    if (node) this.#exits.gets(ended, lock, node, hold.access, waited.site);
  }

  downgraded(hold: HoldRecord): void {
    hold.task.chain = undefined;
  }

  released(hold: HoldRecord, last: boolean): void {
    hold.task.chain = last ? hold.task.chain?.parent : undefined;
  }

  badUnlock(task: Task, lock: Lock): void {
    const site = this.#reporter.site(task, lock.entryPoints);
    this.#reporter.raise(`bad-unlock ${lock.className} ${task.name}`, () => ({
      kind: "bad-unlock",
      task: taskName(task),
      lock: lock.label,
      class: lock.className,
      at: place(site),
      held: this.#reporter.held(task),
    }));
  }

  releasesPinned({ task, lock }: HoldRecord): void {
    this.raise(
      task,
      `pinned ${lock.className}`,
      (held, at) => ({
        kind: "pinned",
        task: taskName(task),
        lock: lock.label,
        class: lock.className,
        at,
        held,
      }),
      lock.entryPoints,
    );
  }

  contextOpened(task: Task): void {
    for (const hold of task.records) {
      const node = this.#nodeOf(hold.lock, hold.subclass);
      if (node) this.#contexts.note(task, node, hold.access, false);
    }
  }

  recursion(task: Task, lock: Lock, access: Access): void {
    const node = this.#nodeOf(lock, 0);
    if (node && task.records.some((hold) => hold.lock === lock))
      this.#orders.recursion(task, lock, node, access, (use) => use.lock === lock.label, true);
  }

  ended(task: Task): void {
    this.#exits.ended(task);
  }

  // ---- what the user asserts ----

  /** Checks an acquisition that may happen, without one. */
  mightLock(task: Task, lock: Lock, access: Access): void {
    this.acquire(task, lock, access, 0, false);
    task.pending = undefined;
  }

  failedAssert(
    task: Task,
    lock: Lock,
    expected: AssertProblem["expected"],
    entryPoints: EntryPoints = [],
  ): void {
    this.raise(
      task,
      `assert ${lock.className} ${expected}`,
      (held, at) => ({
        kind: "assert",
        task: taskName(task),
        lock: lock.label,
        class: lock.className,
        expected,
        at,
        held,
      }),
      entryPoints,
    );
  }

  /** Reports a problem of a task once for each place. For rules that have files of their own. */
  raise(
    task: Task,
    key: string,
    problem: (held: LockUse[], at: Place) => Problem,
    entryPoints: EntryPoints = [],
  ): void {
    this.#reporter.raiseHere(task, key, problem, entryPoints);
  }

  // ---- what is checked ----

  /** A chain not seen before: Linux's validate_chain(). */
  #check(
    task: Task,
    chain: Chain,
    lock: Lock,
    node: ClassNode,
    access: Access,
    trylock: boolean,
  ): Chain | undefined {
    if (this.#chains.isFull) {
      this.#chains.forget();
      chain = this.#chains.of(task);
    }
    if (access === EXCLUSIVE) node.usedExclusive = true;
    else node.usedShared = true;
    const site = this.#reporter.site(task, lock.entryPoints);
    const next = this.#chains.take(chain, node, access, trylock, task, site);
    // A trylock waits for nobody, so nothing that is held can depend on it.
    if (!trylock) this.#orders.check(task, chain, lock, next);
    next.checked = true;
    return this.#off ? undefined : next;
  }

  #nodeOf(lock: Lock, subclass: number): ClassNode | undefined {
    const node = this.#classes.nodeOf(lock, subclass);
    if (node) return node;
    this.#limit("classes");
    return undefined;
  }

  /** Nothing can be proved from here on; the locks go on working. */
  #limit(what: "classes" | "edges"): void {
    this.#off = true;
    this.#reporter.raise(`limit ${what}`, () => ({ kind: "limit", what, bound: this.options.limits[what] }));
  }
}
