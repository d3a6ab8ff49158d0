import { EXCLUSIVE, READ_RECURSIVE, type Access } from "./access.js";
import { Chain, chainKey } from "./chain.js";
import { heldLocks, lockUse, order, place, stuck, taskName, thrownText } from "./describe.js";
import { LockdepError } from "./errors.js";
import { Edge, edgeKind, strongPath, type SeenOrder, type Step } from "./graph.js";
import type { HoldRecord } from "./hold.js";
import type { Lock } from "./lock.js";
import { ClassRegistry, type ClassNode } from "./lock-class.js";
import { ContextRules, contexts } from "./lock-context.js";
import type { LockObserver } from "./observer.js";
import type { AssertProblem, LockUse, Place, Problem, StuckTask } from "./problem.js";
import { Ranks } from "./ranks.js";
import { unseen } from "./scheduler.js";
import { captureStack, captureText, methodsOf, type EntryPoints, type Site } from "./stack.js";
import type { Task } from "./task.js";
import { beginWait, endWait, findHang } from "./wait-graph.js";
import { realTime, type Waiter } from "./wait-queue.js";

export interface Limits {
  /** Lock classes. Linux: MAX_LOCKDEP_KEYS, 8191. */
  readonly classes: number;
  /** Orders of two classes, each with a stack for every kind it was seen in. */
  readonly edges: number;
  /** Chains of held classes, a cache: at the bound it is dropped and learned afresh. */
  readonly chains: number;
}

export const DEFAULT_LIMITS: Limits = { classes: 8191, edges: 262_144, chains: 131_072 };

/** How long a hang may last that a signal could end, where no `waitTimeout` is set: milliseconds. */
const BOUND_HAS_HAD_ITS_CHANCE = 10_000;
/** The same, where others may release the lock: a releaser was handed out. */
const RELEASER_HAS_HAD_ITS_CHANCE = 1000;

/** A program with this many distinct problems does not need one more. */
const MAX_REPORTS = 1000;

export interface ValidatorOptions {
  readonly limits: Limits;
  /** Waits longer than this many milliseconds are reported. */
  readonly waitTimeout: number | undefined;
  /** Gets every distinct problem once, and may return an error: it is thrown to whoever caused the problem. */
  readonly sink: (problem: Problem) => LockdepError | undefined;
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
  readonly #reported = new Set<string>();
  readonly #ranks = new Ranks();
  readonly #contexts = new ContextRules(
    (...problem) => this.raise(...problem),
    (task) => place(this.#site(task, [])),
  );
  /** Waits that hang, unless their bound ends them. */
  readonly #deferred = new Set<Waiter>();
  #root = Chain.root();
  #edges = 0;
  #chains = 0;
  #off = false;

  constructor(private readonly options: ValidatorOptions) {
    this.#classes = new ClassRegistry(options.limits.classes, (edges) => {
      this.#edges = edges;
      this.#forgetChains();
    });
  }

  get stats(): { classes: number; edges: number; chains: number } {
    return { classes: this.#classes.size, edges: this.#edges, chains: this.#chains };
  }

  /** Every order seen. */
  get orders(): SeenOrder[] {
    return [...this.#classes.nodes()].flatMap((node) => [...node.out.values()].map((edge) => edge.order));
  }

  /** Watching again after a pause: what the tasks hold now was not seen being taken. */
  resume(): void {
    this.#forgetChains();
  }

  // ---- what the locks tell: LockObserver ----

  acquire(task: Task, lock: Lock, access: Access, subclass: number, trylock: boolean): void {
    if (this.#off) return;
    const chain = this.#chainOf(task);
    const node = this.#nodeOf(lock, subclass);
    if (!node) return;
    if (task.over) this.#afterExit(task, lock, node, access, this.#site(task, lock.entryPoints));
    const key = chainKey(node, access, trylock);
    const known = chain.child(key);
    if (contexts.length > 0) this.#contexts.note(task, node, access, !trylock);
    task.pending = known?.checked ? known : this.#check(task, chain, lock, node, access, trylock);
  }

  contended(waiter: Waiter): void {
    if (this.#off) return;
    waiter.site = captureStack(waiter.lock.entryPoints);
    beginWait(waiter);
    const hang = findHang(waiter);
    if (!hang) {
      const { waitTimeout } = this.options;
      if (waitTimeout !== undefined)
        waiter.timer = unseen(() => setTimeout(() => this.#longWait(waiter), waitTimeout));
    } else if (hang.some(isBounded)) {
      this.#defer(waiter, BOUND_HAS_HAD_ITS_CHANCE);
    } else if (hang.length === 1 && looselyHolds(waiter.task, waiter.lock)) {
      this.#defer(waiter, RELEASER_HAS_HAD_ITS_CHANCE);
    } else {
      const error = this.#hang(hang);
      if (error) waiter.fail(error); // breaks the hang
    }
  }

  abandoned(waiter: Waiter): void {
    this.#forgetWait(waiter);
    // Whoever waits with a bound and is in a hang now was so until the bound ended it.
    const hang = isBounded(waiter) && waiter.task.waiting === waiter ? findHang(waiter) : undefined;
    if (hang) this.#hang(hang, waiter.task);
    endWait(waiter);
    waiter.task.pending = undefined;
  }

  acquired(hold: HoldRecord): void {
    const { task } = hold;
    const waited = task.waiting;
    if (waited) this.#granted(waited, hold.lock);
    const { pending } = task;
    // Another wait of the same task in between would have changed the chain: then it is built afresh.
    task.chain = pending !== undefined && pending.parent === task.chain ? pending : undefined;
    task.pending = undefined;
    if (waited?.lock === hold.lock && ended(task)) this.#grantedAfterExit(hold, waited);
  }

  downgraded(hold: HoldRecord): void {
    hold.task.chain = undefined;
  }

  released(hold: HoldRecord, last: boolean): void {
    hold.task.chain = last ? hold.task.chain?.parent : undefined;
  }

  badUnlock(task: Task, lock: Lock): void {
    const site = this.#site(task, lock.entryPoints);
    const error = this.#report(`bad-unlock ${lock.className} ${task.name}`, () => ({
      kind: "bad-unlock",
      task: taskName(task),
      lock: lock.label,
      class: lock.className,
      at: place(site),
      held: this.#held(task),
    }));
    if (error) throw error;
  }

  releasesPinned(hold: HoldRecord): void {
    const { task, lock } = hold;
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
    const holding = task.records.findLast((hold) => hold.lock === lock);
    if (!node || !holding) return;
    this.#recursion(task, lock, node, access, (use) => use.lock === lock.label, true);
  }

  ended(task: Task): void {
    // What it acquired without naming a task may be another's to release, unless this one broke off.
    const broken = task.thrown === undefined ? [] : branchesOf(task);
    const holders = [task, ...broken].filter(({ records }) => records.length > 0);
    if (holders.length === 0) return;
    const site = this.#site(task, methodsOf(task));
    const classes = holders.flatMap(({ records }) => records.map((hold) => hold.lock.className)).join(" ");
    const error = this.#report(`held-at-exit ${task.name} ${classes}`, () => ({
      kind: "held-at-exit",
      task: taskName(task),
      ...(task.thrown === undefined ? {} : { thrown: thrownText(task.thrown) }),
      at: place(site),
      held:
        holders.length === 1 && holders[0] === task
          ? this.#held(task)
          : holders.flatMap((each) => this.#own(each)),
    }));
    if (error) throw error;
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
    const site = this.#site(task, entryPoints);
    const at = place(site);
    const where = at[0] ? `${at[0].file}:${at[0].line}` : "";
    const error = this.#report(`assert ${lock.className} ${expected} ${where}`, () => ({
      kind: "assert",
      task: taskName(task),
      lock: lock.label,
      class: lock.className,
      expected,
      at,
      held: this.#held(task),
    }));
    if (error) throw error;
  }

  /** Reports a problem of a task once for each place. For rules that have files of their own. */
  raise(
    task: Task,
    key: string,
    problem: (held: LockUse[], at: Place) => Problem,
    entryPoints: EntryPoints = [],
  ): void {
    const at = place(this.#site(task, entryPoints));
    const where = at[0] ? `${at[0].file}:${at[0].line}` : "";
    const error = this.#report(`${key} ${where}`, () => problem(this.#held(task), at));
    if (error) throw error;
  }

  // ---- chains ----

  #chainOf(task: Task): Chain {
    const { chain } = task;
    if (chain === undefined || chain.root !== this.#root) return this.#rebuild(task);
    // Whoever awaits the task may have let go of a lock since.
    return task.parent === undefined || this.#chainOf(task.parent) === task.base
      ? chain
      : this.#rebuild(task);
  }

  /** The chain of what the task holds, after a release out of order, a downgrade, or while nobody watched. */
  #rebuild(task: Task): Chain {
    let chain = task.parent ? this.#chainOf(task.parent) : this.#root;
    task.base = chain;
    for (const hold of task.records) {
      const node = this.#nodeOf(hold.lock, hold.subclass);
      if (!node) break;
      // Not checked: nobody acquired these in this order just now.
      chain =
        chain.child(chainKey(node, hold.access, hold.trylock)) ??
        this.#extend(chain, node, hold.access, hold.trylock, task, undefined);
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
    this.#chains++;
    return chain;
  }

  #nodeOf(lock: Lock, subclass: number): ClassNode | undefined {
    const node = this.#classes.nodeOf(lock, subclass);
    if (node) return node;
    this.#limit("classes");
    return undefined;
  }

  #forgetChains(): void {
    this.#root = Chain.root();
    this.#chains = 0;
  }

  // ---- checks ----

  /** A chain not seen before: Linux's validate_chain(). */
  #check(
    task: Task,
    chain: Chain,
    lock: Lock,
    node: ClassNode,
    access: Access,
    trylock: boolean,
  ): Chain | undefined {
    if (this.#chains >= this.options.limits.chains) {
      this.#forgetChains();
      chain = this.#chainOf(task);
    }
    if (access === EXCLUSIVE) node.usedExclusive = true;
    else node.usedShared = true;
    const site = this.#site(task, lock.entryPoints);
    const key = chainKey(node, access, trylock);
    const next =
      chain.child(key)?.withSite(task, site) ?? this.#extend(chain, node, access, trylock, task, site);
    // A trylock waits for nobody, so nothing that is held can depend on it.
    if (!trylock) {
      this.#checkRecursion(task, chain, lock, node, access);
      this.#checkOrders(task, chain, lock, next);
    }
    next.checked = true;
    return this.#off ? undefined : next;
  }

  #checkRecursion(task: Task, chain: Chain, lock: Lock, node: ClassNode, access: Access): void {
    // Asking again for what one's releaser has not released yet is no mistake before one waits for it in vain.
    if (task.loose && looselyHolds(task, lock)) return;
    for (let held: Chain = chain; held.node; held = held.parent!) {
      if (held.node !== node) continue;
      if (access === READ_RECURSIVE && held.access !== EXCLUSIVE) continue;
      this.#recursion(task, lock, node, access, (use) => use.class === node.label, false);
      return;
    }
  }

  /**
   * Adds the orders "every lock held -> the new one". Linux adds the nearest held lock only, and so misses a writer
   * that is hidden behind a recursive reader.
   */
  #checkOrders(task: Task, chain: Chain, lock: Lock, next: Chain): void {
    let shortest: { path: Step[]; closing: Step } | undefined;
    for (let held: Chain = chain; held.node; held = held.parent!) {
      if (held.node === next.node) continue; // recursion is another check's business
      const edge = this.#edge(held.node, next.node!);
      if (!edge) return;
      const kind = edgeKind(held.access, next.access);
      if (edge.kinds & kind) continue;
      edge.add({ kind, held, acquired: next });
      if (contexts.length > 0) this.#contexts.ordered(task, held.node, next.node!);
      if (edge.broken) continue;
      if (!this.#ranks.mayLeadBack(held.node, next.node!)) continue;
      const path = strongPath(next.node!, next.access, held.node, held.access);
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
    const error = this.#report(`cycle ${key.join(" ")}`, () => {
      const held = heldLocks(task, chain);
      return {
        kind: "cycle",
        task: taskName(task),
        acquiring: lockUse(lock, next.node!, next.access, false, place(next.site)),
        holding: held.findLast((use) => use.class === closing.edge.from.label)!,
        orders: steps.map(order),
        held,
      };
    });
    if (error) throw error;
  }

  #edge(from: ClassNode, to: ClassNode): Edge | undefined {
    const known = from.out.get(to);
    if (known) return known;
    if (this.#edges >= this.options.limits.edges) {
      this.#limit("edges");
      return undefined;
    }
    const edge = new Edge(from, to);
    from.out.set(to, edge);
    to.into.add(from);
    this.#edges++;
    return edge;
  }

  #recursion(
    task: Task,
    lock: Lock,
    node: ClassNode,
    access: Access,
    isHeld: (use: LockUse) => boolean,
    sameLock: boolean,
  ): void {
    const at = place(this.#site(task, lock.entryPoints));
    const error = this.#report(`recursion ${node.label}`, () => {
      const held = heldLocks(task, this.#chainOf(task));
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
    if (error) throw error;
  }

  // ---- waits ----

  #granted(waiter: Waiter, lock: Lock): void {
    if (waiter.lock !== lock) return;
    this.#forgetWait(waiter);
    endWait(waiter);
  }

  #longWait(waiter: Waiter): void {
    const error = this.#report(`long-wait ${waiter.task.name} ${waiter.lock.className}`, () => {
      const tasks = [this.#stuck(waiter)];
      for (const holder of unseen(() => waiter.lock.holders()))
        if (holder.waiting) tasks.push(this.#stuck(holder.waiting));
      return { kind: "long-wait", tasks };
    });
    if (error) waiter.fail(error);
  }

  #hang(hang: Waiter[], endedBy?: Task): LockdepError | undefined {
    const key = hang.map((at) => `${at.task.id}:${at.lock.id}`).sort();
    return this.#report(`hang ${key.join(" ")}`, () => ({
      kind: "hang",
      ...(endedBy ? { endedBy: taskName(endedBy) } : {}),
      tasks: hang.map((at) => this.#stuck(at)),
    }));
  }

  /** Reports a hang that something can still end, if nothing has after some time. */
  #defer(waiter: Waiter, chance: number): void {
    this.#deferred.add(waiter);
    waiter.timer = unseen(() =>
      setTimeout(() => this.#stillHangs(waiter), this.options.waitTimeout ?? chance),
    );
    unref(waiter.timer);
  }

  #forgetWait(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    this.#deferred.delete(waiter);
  }

  /** No event can end a wait any more. */
  finish(): void {
    for (const waiter of this.#deferred) this.#stillHangs(waiter);
  }

  /** The bound of a wait in a hang has had its chance. */
  #stillHangs(waiter: Waiter): void {
    const hang = findHang(waiter);
    // A time limit is sure to end it, and to report it then.
    const error = hang?.every(({ bound }) => bound !== "time limit") && this.#hang(hang);
    if (error) waiter.fail(error);
  }

  #stuck(waiter: Waiter): StuckTask {
    const { task, lock, access } = waiter;
    const node = this.#nodeOf(lock, waiter.subclass)!;
    return stuck(
      task,
      lockUse(lock, node, access, false, place(waiter.site)),
      realTime() - waiter.since,
      this.#held(task),
      unseen(() => [...lock.holders()]),
      waiter.bound,
    );
  }

  // ---- reports ----

  #held(task: Task): LockUse[] {
    return heldLocks(task, this.#chainOf(task));
  }

  /** What the task holds itself, without what those hold that await it. */
  #own(task: Task): LockUse[] {
    return this.#held(task).slice(-task.records.length);
  }

  #site(task: Task, entryPoints: EntryPoints): Site | undefined {
    return this.options.site ? this.options.site(task) : captureText(entryPoints);
  }

  #grantedAfterExit(hold: HoldRecord, waiter: Waiter): void {
    const node = this.#nodeOf(hold.lock, hold.subclass);
    // The lock is the task's by now, and whoever handed it over is not to blame: nothing to throw at.
    if (node)
      this.#report(
        ...this.#afterExitReport(ended(hold.task)!, hold.lock, node, hold.access, waiter.site, true),
      );
  }

  #afterExit(task: Task, lock: Lock, node: ClassNode, access: Access, site: Site | undefined): void {
    const error = this.#report(...this.#afterExitReport(task, lock, node, access, site, false));
    if (error) throw error;
  }

  #afterExitReport(
    task: Task,
    lock: Lock,
    node: ClassNode,
    access: Access,
    site: Site | undefined,
    waited: boolean,
  ): [string, () => Problem] {
    return [
      `after-exit ${task.name} ${node.label}`,
      () => ({
        kind: "after-exit",
        task: taskName(task),
        acquired: lockUse(lock, node, access, false, place(site)),
        waited,
        held: this.#held(task),
      }),
    ];
  }

  /** Hands a problem that was not reported before to the sink. */
  #report(key: string, problem: () => Problem): LockdepError | undefined {
    if (this.#reported.has(key) || this.#reported.size >= MAX_REPORTS) return undefined;
    this.#reported.add(key);
    return this.options.sink(problem());
  }

  /** Nothing can be proved from here on; the locks go on working. */
  #limit(what: "classes" | "edges"): void {
    this.#off = true;
    const error = this.#report(`limit ${what}`, () => ({
      kind: "limit",
      what,
      bound: this.options.limits[what],
    }));
    if (error) throw error;
  }
}

const isBounded = (waiter: Waiter): boolean => waiter.bound !== undefined;

/** A timer that only reports does not keep Node's process alive; elsewhere timers are numbers. */
function unref(timer: unknown): void {
  (timer as { unref?: () => void }).unref?.();
}

/** The task, or one that should have awaited it, that is over. */
function ended(task: Task): Task | undefined {
  let at: Task | undefined = task;
  while (at && !at.over) at = at.parent;
  return at;
}

function branchesOf(task: Task): Task[] {
  return [...(task.branches ?? [])].flatMap((branch) => [branch, ...branchesOf(branch)]);
}

/** A part of the task holds the lock, and others may release it. */
function looselyHolds(task: Task, lock: Lock): boolean {
  for (let at: Task | undefined = task; at; at = at.parent) if (at.loose && at.find(lock)) return true;
  return false;
}
