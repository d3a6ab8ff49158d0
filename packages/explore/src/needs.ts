import type { FootprintData } from "./footprint.js";
import { asyncIdentity, type AsyncIdentity } from "./identity.js";
import { KnownFootprints } from "./known-footprints.js";
import type { Thread } from "./thread.js";

/**
 * How much of what goes on at a lock is explored: the least that anybody can tell.
 *
 * 0. Who has it after whom. A task arrives when the lock is free, and goes on at once. Enough for a mutex that is only
 *    locked and unlocked: a task does nothing between its arrival and its turn, and so an execution in which it arrived
 *    earlier, and waited, is the same but for the place of the arrival.
 * 1. Who came when. The queue is the lock's own: arrival, grant, and the task's going on after a wait are events. What
 *    every reader-writer lock gets.
 * 2. Also, that a task has the lock and has not gone on yet. Needed where somebody can meet it so: by a trylock; by a wait
 *    that a signal or a time limit can end, and by what puts others into the queue (a condition variable's notify), since
 *    a task that comes in between is in the queue when that happens.
 * 3. Also, who waits, and in what order holders came. Needed where somebody looks at that.
 */
export type Detail = 0 | 1 | 2 | 3;

/** `Needs` as plain data, for those who explore another part of the same program. */
export interface Knowledge {
  /** Locks of which more is explored than of others of their kind. */
  readonly locks: Readonly<Record<string, Detail>>;
  /** Signals that are aborted in some execution. */
  readonly aborted: readonly string[];
  /** Continuations are told apart. */
  readonly identified: boolean;
  /** Tasks share promises, although they were said to share only what is seen. */
  readonly gaps: boolean;
  /** What each event touched, in any execution so far. */
  readonly footprints: Readonly<Record<string, FootprintData>>;
}

/** What is known of a program that never ran. */
export const NO_KNOWLEDGE: Knowledge = {
  locks: {},
  aborted: [],
  identified: false,
  gaps: false,
  footprints: {},
};

/**
 * What a program turned out to need, besides what every program gets: it costs time, so it is found out. Whoever
 * finds out throws the execution away, and the search begins anew. Nothing is missed for that: up to the first event
 * that tells a difference there is none, so if any execution comes to such an event, one that is explored does.
 */
export class Needs {
  readonly #locks: Map<string, Detail>;
  readonly #aborted: Set<string>;
  readonly footprints: KnownFootprints;
  #identity: AsyncIdentity<Thread> | undefined;
  /** Tasks share promises, although they were said to share only what is seen. */
  gaps: boolean;

  constructor({ locks, aborted, identified, gaps, footprints }: Knowledge = NO_KNOWLEDGE) {
    this.#locks = new Map(Object.entries(locks));
    this.#aborted = new Set(aborted);
    this.footprints = new KnownFootprints(footprints);
    this.gaps = gaps;
    if (identified) this.identify();
  }

  /** What is explored of locks, by name, beyond the least that those of their kind get. */
  get locks(): ReadonlyMap<string, Detail> {
    return this.#locks;
  }

  /** @returns false if that is news */
  lock(name: string, detail: Detail): boolean {
    if ((this.#locks.get(name) ?? 0) >= detail) return true;
    this.#locks.set(name, detail);
    return false;
  }

  /** The signal is aborted in some execution. */
  isAborted(signal: string): boolean {
    return this.#aborted.has(signal);
  }

  abort(signal: string): void {
    this.#aborted.add(signal);
  }

  /** Tells whose continuation runs, if that is needed. */
  get identity(): AsyncIdentity<Thread> | undefined {
    return this.#identity;
  }

  /** Tells whose continuation runs, where the platform can. */
  tryIdentify(): AsyncIdentity<Thread> | undefined {
    return (this.#identity ??= asyncIdentity());
  }

  /** @throws Error where the platform cannot do it */
  identify(): void {
    if (!this.tryIdentify())
      throw new Error(
        "tasks await each other's promises, and nothing tells here which of them calls: " +
          "use locks, join, or task.preempt() with the task",
      );
  }

  /** What is known now; of footprints, what was not at the start. */
  toData(): Knowledge {
    return {
      locks: Object.fromEntries(this.#locks),
      aborted: [...this.#aborted],
      identified: this.#identity !== undefined,
      gaps: this.gaps,
      footprints: this.footprints.news(),
    };
  }
}
