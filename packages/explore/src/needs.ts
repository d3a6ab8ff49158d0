import { asyncIdentity, type AsyncIdentity } from "./identity.js";
import { KnownFootprints } from "./known-footprints.js";
import type { Thread } from "./thread.js";

/**
 * What a program turned out to need, besides what every program gets: it costs time, so it is found out. Whoever
 * finds out throws the execution away, and the search begins anew.
 */
export class Needs {
  readonly footprints = new KnownFootprints();
  #identity: AsyncIdentity<Thread> | undefined;

  /**
   * @param queued names of mutexes whose queue is modelled. For the others it makes no difference who arrived when,
   * only who took it when, and so a task arrives when it can take the mutex.
   */
  constructor(readonly queued: Set<string> = new Set()) {}

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
}
