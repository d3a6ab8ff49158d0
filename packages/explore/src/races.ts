import type { ExecutedEvent } from "./event.js";

/**
 * Which events of an execution happened before which: by the order of their task, by what both touched, by who made
 * whom possible. Kept as vector clocks: for each event, the last event of every thread that happened before it.
 */
export class HappensBefore {
  /**
   * For each event, the earlier ones that it races with: they touch the same thing, and no third event orders them.
   */
  readonly races: readonly (readonly number[])[];
  readonly #thread: number[] = [];
  readonly #clocks: Int32Array[] = [];

  constructor(events: readonly ExecutedEvent[]) {
    const indexes = new Map<string, number>();
    for (const { thread } of events) {
      if (!indexes.has(thread)) indexes.set(thread, indexes.size);
      this.#thread.push(indexes.get(thread)!);
    }
    const accesses = new Accesses();
    const last = new Int32Array(indexes.size).fill(-1);
    this.races = events.map((event, at) => {
      const thread = this.#thread[at]!;
      const clock = new Int32Array(indexes.size).fill(-1);
      if (last[thread]! >= 0) clock.set(this.#clocks[last[thread]!]!);
      for (const other of event.enabledBy) this.#join(clock, other);
      const races: number[] = [];
      // Newest first: what happened before a newer one is ordered by that.
      for (const other of accesses.conflicts(event, last).sort((a, b) => b - a)) {
        if (clock[this.#thread[other]!]! >= other) continue;
        races.push(other);
        this.#join(clock, other);
      }
      clock[thread] = at;
      this.#clocks.push(clock);
      accesses.add(event, at, thread);
      last[thread] = at;
      return races;
    });
  }

  happenedBefore(earlier: number, later: number): boolean {
    return this.#clocks[later]![this.#thread[earlier]!]! >= earlier;
  }

  #join(clock: Int32Array, event: number): void {
    const other = this.#clocks[event];
    if (!other) return;
    for (let i = 0; i < clock.length; i++) if (other[i]! > clock[i]!) clock[i] = other[i]!;
  }
}

/** Who touched what last. Older accesses happened before these. */
class Accesses {
  readonly #objects = new Map<string, { write: number; readonly reads: Map<number, number> }>();
  #everything = -1;

  /** @param last the last event of each thread */
  conflicts({ footprint }: ExecutedEvent, last: Int32Array): number[] {
    if (footprint.everything) return [...last].filter((event) => event >= 0);
    const found = new Set<number>();
    if (this.#everything >= 0) found.add(this.#everything);
    for (const [object, writes] of footprint.touched) {
      const known = this.#objects.get(object);
      if (!known) continue;
      if (known.write >= 0) found.add(known.write);
      if (writes) for (const read of known.reads.values()) found.add(read);
    }
    return [...found];
  }

  add({ footprint }: ExecutedEvent, at: number, thread: number): void {
    if (footprint.everything) this.#everything = at;
    for (const [object, writes] of footprint.touched) {
      let known = this.#objects.get(object);
      if (!known) this.#objects.set(object, (known = { write: -1, reads: new Map() }));
      if (writes) {
        known.write = at;
        known.reads.clear();
      } else known.reads.set(thread, at);
    }
  }
}
