import { toBeTried, type Demand } from "./demand.js";
import { NotDeterministic } from "./errors.js";
import type { ExecutedEvent } from "./event.js";
import type { Footprint } from "./footprint.js";
import { HappensBefore } from "./races.js";
import type { Thread } from "./thread.js";

/** A place on the current path: what was chosen there, and what is still to be tried. */
interface Node {
  readonly enabled: readonly string[];
  chosen: string;
  /** Threads to be tried from here. */
  readonly backtrack: Set<string>;
  /** Threads that need not be tried: what they would do next was explored, and commutes with all since. */
  readonly sleep: Map<string, Footprint>;
  /** How often the path up to here switched away from a thread that could go on. */
  readonly preemptions: number;
}

export interface DporOptions {
  /** False tries every order of everything: for checking the reduction, and for what it saves. */
  readonly reduce: boolean;
  /**
   * Schedules that switch away from a thread which could go on more often than this are left out. It goes without
   * reduction: the schedule that stands for its equals may be one of those left out.
   */
  readonly maxPreemptions?: number | undefined;
  /** The subtree to be searched. Default: all. */
  readonly root?: Root | undefined;
}

/** A subtree: what runs under all schedules that begin with `prefix`. */
export interface Root {
  /** The threads of the events up to it. */
  readonly prefix: readonly string[];
  /** Who need not be tried instead of the prefix's last thread, and what they would do. */
  readonly sleep: ReadonlyMap<string, Footprint>;
}

/** A place on the path of a search that has stopped half-way. */
export interface Place {
  /** Who went on from there, on the path. */
  readonly chosen: string;
  /** Threads to be tried from there, those included that were. */
  readonly backtrack: readonly string[];
  /** Threads that need not be tried any more, and what they would do. */
  readonly sleep: ReadonlyMap<string, Footprint>;
}

/**
 * Depth-first search through all schedules that can differ in their outcome (source sets: Abdulla et al., POPL 2014).
 *
 * Each execution is looked at afterwards: two events of different tasks that touch the same thing, with nothing
 * between that orders them, are a race, and the other order is tried. Sleep sets keep what was explored from being
 * explored again. What an event touches is known only once it has run, which is why it works on whole executions.
 */
export class Dpor {
  readonly #path: Node[] = [];
  readonly #reduce: boolean;
  readonly #maxPreemptions: number;
  readonly #root: Root;
  /** What is to be tried above the root, in the order in which it was found, each once. */
  readonly #demands = new Map<string, Demand>();
  /** Length of the prefix that the next execution repeats. */
  #prefix: number;
  #leftOut = false;

  constructor({ reduce, maxPreemptions = Infinity, root = EVERYTHING }: DporOptions) {
    this.#reduce = reduce && maxPreemptions === Infinity;
    this.#maxPreemptions = maxPreemptions;
    this.#root = root;
    this.#prefix = root.prefix.length;
  }

  get demands(): readonly Demand[] {
    return [...this.#demands.values()];
  }

  /** How many events the execution repeats that is run next, or was run since `advance`: the last to another thread. */
  get repeated(): number {
    return this.#prefix;
  }

  /** The bound on preemptions left schedules out. */
  get leftOut(): boolean {
    return this.#leftOut;
  }

  /** Chooses for the execution under way. `undefined`: nothing new can come of it. */
  pick(enabled: readonly Thread[], events: readonly ExecutedEvent[]): Thread | undefined {
    const depth = events.length;
    const keys = enabled.map(({ key }) => key);
    if (depth < this.#prefix) {
      const node = this.#path[depth] ?? this.#addRoot(keys, events);
      if (keys.length !== node.enabled.length || keys.some((key, i) => key !== node.enabled[i]))
        throw new NotDeterministic(
          `at event ${depth}, threads ${node.enabled.join(", ")} could run the first time, and now ${keys.join(", ")}`,
        );
      return enabled[keys.indexOf(node.chosen)]!;
    }
    const sleep = this.#sleepAfter(events);
    const { preemptions, allowed } = this.#withinBound(keys, events);
    const chosen = allowed.find((key) => !sleep.has(key));
    if (chosen === undefined) return undefined;
    this.#path.push({
      enabled: keys,
      chosen,
      backtrack: new Set(this.#reduce ? [chosen] : allowed),
      sleep,
      preemptions,
    });
    return enabled[keys.indexOf(chosen)]!;
  }

  /**
   * Looks at a finished execution, and prepares the next.
   * @param blocked what would have come at its end, if it had not been blocked
   * @returns false when everything has been explored
   */
  advance(events: readonly ExecutedEvent[], blocked: readonly ExecutedEvent[]): boolean {
    if (this.#reduce) {
      // Races that lie in the repeated prefix were found when it was new; its last event is the one that changed.
      this.#findRaces(events, Math.max(0, this.#prefix - 1));
      for (const event of blocked) {
        const all = [...events, event];
        const order = this.#findRaces(all, events.length);
        // Whoever has the mutex does not let it go, and so there is no such event to race with. Who comes first?
        const taken = events.findLastIndex(({ took }) => took !== undefined && took === event.took);
        if (taken >= 0 && !events[taken]!.timer) this.#tryReversed(all, order, taken, events.length);
      }
    }
    for (
      let depth = Math.min(events.length, this.#path.length) - 1;
      depth >= this.#root.prefix.length;
      depth--
    ) {
      const node = this.#path[depth]!;
      this.#path.length = depth + 1;
      node.sleep.set(node.chosen, events[depth]!.footprint);
      const next = [...node.backtrack].find((key) => !node.sleep.has(key));
      if (next === undefined) continue;
      node.chosen = next;
      this.#prefix = depth + 1;
      return true;
    }
    return false;
  }

  /** A place of the prefix, met for the first time. */
  #addRoot(enabled: readonly string[], events: readonly ExecutedEvent[]): Node {
    const { prefix, sleep } = this.#root;
    const chosen = prefix[events.length]!;
    if (!enabled.includes(chosen))
      throw new NotDeterministic(
        `at event ${events.length}, thread ${chosen} could run elsewhere, and here ${enabled.join(", ")}`,
      );
    const node: Node = {
      enabled,
      chosen,
      backtrack: new Set([chosen]),
      sleep: new Map(events.length === prefix.length - 1 ? sleep : []),
      preemptions: this.#withinBound(enabled, events).preemptions,
    };
    this.#path.push(node);
    return node;
  }

  /**
   * Where the search goes on if it stops now: the places from the root down to the last one that has something left.
   * @param events of the last execution
   */
  places(events: readonly ExecutedEvent[]): Place[] {
    return this.#path.slice(this.#root.prefix.length, this.#prefix).map((node, i) => {
      const depth = this.#root.prefix.length + i;
      const sleep = new Map(node.sleep);
      // All but the last are on their way: who comes later need not do what is done there.
      if (depth < this.#prefix - 1) sleep.set(node.chosen, events[depth]!.footprint);
      return { chosen: node.chosen, backtrack: [...node.backtrack], sleep };
    });
  }

  /** Whose event may be next, as far as the bound on preemptions goes. */
  #withinBound(
    keys: readonly string[],
    events: readonly ExecutedEvent[],
  ): { preemptions: number; allowed: readonly string[] } {
    const before = this.#path[events.length - 1];
    if (!before) return { preemptions: 0, allowed: keys };
    const previous = events.at(-2)?.thread;
    const preempted =
      previous !== undefined && previous !== before.chosen && before.enabled.includes(previous);
    const preemptions = before.preemptions + Number(preempted);
    if (preemptions < this.#maxPreemptions || !keys.includes(before.chosen))
      return { preemptions, allowed: keys };
    if (keys.length > 1) this.#leftOut = true;
    return { preemptions, allowed: [before.chosen] };
  }

  /** Who sleeps after the last event: those before it whose next event commutes with it. */
  #sleepAfter(events: readonly ExecutedEvent[]): Map<string, Footprint> {
    const before = this.#path[events.length - 1];
    const last = events.at(-1);
    if (!this.#reduce || !before || !last) return new Map();
    return new Map(
      [...before.sleep].filter(
        ([key, footprint]) => key !== last.thread && !footprint.conflictsWith(last.footprint),
      ),
    );
  }

  #findRaces(events: readonly ExecutedEvent[], from: number): HappensBefore {
    const order = new HappensBefore(events);
    for (let later = from; later < events.length; later++) {
      for (const race of order.races[later]!) this.#tryRace(events, order, race, later);
      // A timer that was stopped could have fired before.
      for (const timer of events[later]!.stopped) {
        if (this.#couldRun(timer.thread, later)) this.#try({ depth: later, all: [timer.thread] });
        this.#findRaces([...events.slice(0, later), timer], later);
      }
    }
    return order;
  }

  /**
   * A task that takes a mutex cannot do so before the event that let it go. What can be reversed is who took it first.
   * In the same way, no timer fires before one that is due earlier; but that one may be set later.
   */
  #tryRace(events: readonly ExecutedEvent[], order: HappensBefore, earlier: number, later: number): void {
    const { took, timer, thread } = events[later]!;
    const since = took === undefined ? [] : (events[earlier]!.released.get(took) ?? []);
    for (const start of since) {
      if (start === earlier) continue;
      this.#tryReversed(events, order, start, later);
      if (!this.#couldRun(thread, start)) this.#tryRace(events, order, start, later);
    }
    if (since.length === 0 || since.includes(earlier) || (timer && this.#couldRun(thread, earlier)))
      this.#tryReversed(events, order, earlier, later);
  }

  #couldRun(thread: string, at: number): boolean {
    return this.#path[at]?.enabled.includes(thread) ?? false;
  }

  /** Makes sure that, before event `earlier`, a thread is tried that leads to `later` without it. */
  #tryReversed(events: readonly ExecutedEvent[], order: HappensBefore, earlier: number, later: number): void {
    const node = this.#path[earlier];
    if (!node) return;
    // What could have happened without `earlier`: all since that does not depend on it, and then `later`.
    const first = new Map<string, number>();
    const initials: string[] = [];
    for (let at = earlier + 1; at <= later; at++) {
      if (at < later && order.happenedBefore(earlier, at)) continue;
      const { thread } = events[at]!;
      if (first.has(thread)) continue;
      // The initials: threads whose first event there depends on none before it.
      const dependent = [...first.values()].some((other) => order.happenedBefore(other, at));
      if (!dependent && node.enabled.includes(thread)) initials.push(thread);
      first.set(thread, at);
    }
    this.#try(
      initials.length > 0 ? { depth: earlier, oneOf: initials } : { depth: earlier, all: node.enabled },
    );
  }

  #try(demand: Demand): void {
    const { depth, oneOf, all } = demand;
    if (depth < this.#root.prefix.length) {
      const key = `${depth} ${oneOf ? "one" : "all"} ${(oneOf ?? all!).join(" ")}`;
      if (!this.#demands.has(key)) this.#demands.set(key, demand);
      return;
    }
    const { backtrack, sleep } = this.#path[depth]!;
    for (const thread of toBeTried(demand, (each) => backtrack.has(each) || sleep.has(each)))
      backtrack.add(thread);
  }
}

const EVERYTHING: Root = { prefix: [], sleep: new Map() };
