import type { FootprintData } from "./footprint.js";
import { asyncIdentity, type AsyncIdentity } from "./identity.js";
import { KnownFootprints } from "./known-footprints.js";
import type { Thread } from "./thread.js";

/** `Needs` as plain data, for those who explore another part of the same program. */
export interface Knowledge {
  /** Mutexes whose queue is modelled. */
  readonly queued: readonly string[];
  /** Continuations are told apart. */
  readonly identified: boolean;
  /** What each event touched, in any execution so far. */
  readonly footprints: Readonly<Record<string, FootprintData>>;
}

/** What is known of a program that never ran. */
export const NO_KNOWLEDGE: Knowledge = { queued: [], identified: false, footprints: {} };

/**
 * What a program turned out to need, besides what every program gets: it costs time, so it is found out. Whoever
 * finds out throws the execution away, and the search begins anew.
 */
export class Needs {
  /**
   * Names of mutexes whose queue is modelled. For the others it makes no difference who arrived when, only who took it
   * when, and so a task arrives when it can take the mutex.
   */
  readonly queued: Set<string>;
  readonly footprints: KnownFootprints;
  #identity: AsyncIdentity<Thread> | undefined;

  constructor({ queued, identified, footprints }: Knowledge = NO_KNOWLEDGE) {
    this.queued = new Set(queued);
    this.footprints = new KnownFootprints(footprints);
    if (identified) this.identify();
  }

  /** Tells whose continuation runs, if that is needed. */
  get identity(): AsyncIdentity<Thread> | undefined {
    return this.#identity;
  }

  /** @throws Error where the platform cannot do it */
  identify(): void {
    this.#identity ??= asyncIdentity();
    if (!this.#identity)
      throw new Error(
        "tasks await each other's promises, and nothing tells here which of them calls: " +
          "use locks, join, or task.preempt() with the task",
      );
  }

  /** What is known now; of footprints, what was not at the start. */
  toData(): Knowledge {
    return {
      queued: [...this.queued],
      identified: this.#identity !== undefined,
      footprints: this.footprints.news(),
    };
  }
}
