import type { ExecutedEvent } from "./event.js";
import type { Thread } from "./execution.js";
import type { Footprint } from "./footprint.js";

/** A place on the current path: what was chosen there, and what is still to be tried. */
interface Node {
  readonly enabled: readonly string[];
  chosen: string;
  /** Threads to be tried from here. */
  readonly backtrack: Set<string>;
  /** Threads that need not be tried: what they would do next was explored, and commutes with all since. */
  readonly sleep: Map<string, Footprint>;
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
  /** Length of the prefix that the next execution repeats. */
  #prefix = 0;

  /** @param reduce false tries every order of everything: for checking the reduction, and for what it saves */
  constructor(private readonly reduce: boolean) {}

  /** Chooses for the execution under way. `undefined`: nothing new can come of it. */
  pick(enabled: readonly Thread[], events: readonly ExecutedEvent[]): Thread | undefined {
    const depth = events.length;
    if (depth < this.#prefix) {
      const { chosen } = this.#path[depth]!;
      const thread = enabled.find(({ key }) => key === chosen);
      if (!thread)
        throw new Error(`not deterministic: at event ${depth}, thread ${chosen} cannot run this time`);
      return thread;
    }
    const sleep = this.#sleepAfter(events);
    const thread = enabled.find(({ key }) => !sleep.has(key));
    if (!thread) return undefined;
    const keys = enabled.map(({ key }) => key);
    this.#path.push({
      enabled: keys,
      chosen: thread.key,
      backtrack: new Set(this.reduce ? [thread.key] : keys),
      sleep,
    });
    return thread;
  }

  /** Looks at a finished execution, and prepares the next. @returns false when everything has been explored */
  advance(events: readonly ExecutedEvent[]): boolean {
    if (this.reduce) this.#findRaces(events);
    for (let depth = Math.min(events.length, this.#path.length) - 1; depth >= 0; depth--) {
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

  /** Who sleeps after the last event: those before it whose next event commutes with it. */
  #sleepAfter(events: readonly ExecutedEvent[]): Map<string, Footprint> {
    const before = this.#path[events.length - 1];
    const last = events.at(-1);
    if (!this.reduce || !before || !last) return new Map();
    return new Map(
      [...before.sleep].filter(
        ([key, footprint]) => key !== last.thread && !footprint.conflictsWith(last.footprint),
      ),
    );
  }

  #findRaces(events: readonly ExecutedEvent[]): void {
    const after = happensBefore(events);
    // Races that lie in the repeated prefix were found when it was new; its last event is the one that changed.
    for (let later = Math.max(0, this.#prefix - 1); later < events.length; later++) {
      for (let earlier = later - 1; earlier >= 0; earlier--) {
        const race = raceStart(events, after, earlier, later);
        if (race !== undefined) this.#tryReversed(events, after, race, later);
      }
    }
  }

  /** Makes sure that, before event `earlier`, a thread is tried that leads to `later` without it. */
  #tryReversed(
    events: readonly ExecutedEvent[],
    after: readonly Uint8Array[],
    earlier: number,
    later: number,
  ): void {
    const node = this.#path[earlier];
    if (!node) return;
    // What could have happened without `earlier`: all since that does not depend on it, and then `later`.
    const without: number[] = [];
    for (let at = earlier + 1; at < later; at++) if (!after[at]![earlier]) without.push(at);
    without.push(later);
    // Its initials: threads whose first event there depends on none before it.
    const initials = new Set<string>();
    const seen = new Set<string>();
    for (const [i, at] of without.entries()) {
      const { thread } = events[at]!;
      if (seen.has(thread)) continue;
      seen.add(thread);
      const dependsOnEarlier = without.slice(0, i).some((other) => after[at]![other]);
      if (!dependsOnEarlier && node.enabled.includes(thread)) initials.add(thread);
    }
    if ([...initials].some((thread) => node.backtrack.has(thread))) return;
    const [initial] = initials;
    if (initial !== undefined) node.backtrack.add(initial);
    else for (const thread of node.enabled) node.backtrack.add(thread);
  }
}

/** For each event, which earlier ones happened before it: by its task's order, by what both touch, by who enabled it. */
function happensBefore(events: readonly ExecutedEvent[]): Uint8Array[] {
  const after: Uint8Array[] = [];
  for (const [at, event] of events.entries()) {
    const before = new Uint8Array(at);
    for (let other = at - 1; other >= 0; other--) {
      if (before[other]) continue;
      if (!dependent(events[other]!, event) && event.enabledBy !== other) continue;
      before[other] = 1;
      for (let i = 0; i < other; i++) if (after[other]![i]) before[i] = 1;
    }
    after.push(before);
  }
  return after;
}

function dependent(a: ExecutedEvent, b: ExecutedEvent): boolean {
  return a.thread === b.thread || a.footprint.conflictsWith(b.footprint);
}

/**
 * Where to go back to in order to reverse `earlier` and `later`, if they race.
 *
 * A task that takes a mutex cannot do so before the event that let it go. What can be reversed is who took it first.
 */
function raceStart(
  events: readonly ExecutedEvent[],
  after: readonly Uint8Array[],
  earlier: number,
  later: number,
): number | undefined {
  const a = events[earlier]!;
  const b = events[later]!;
  if (a.thread === b.thread || b.enabledBy === earlier || !a.footprint.conflictsWith(b.footprint))
    return undefined;
  for (let between = earlier + 1; between < later; between++) {
    if (after[later]![between] && after[between]![earlier]) return undefined;
  }
  return b.took === undefined ? earlier : (a.released.get(b.took) ?? earlier);
}
