import type { Footprint } from "./footprint.js";

/** One event of an execution: what one task did between two places where others could run. */
export interface ExecutedEvent {
  /** The task, by the stable key of its thread. */
  readonly thread: string;
  /** What it went on from, for people: "lock(memoryLock#1)", "step". */
  readonly label: string;
  readonly footprint: Footprint;
  /** Earlier events without which this one could not be (a release that handed a lock over, a task's creation). */
  readonly enabledBy: readonly number[];
  /** Mutexes that the event let go, and the event that had taken each. */
  readonly released: ReadonlyMap<string, number>;
  /** The mutex that had to be free for it. */
  readonly took: string | undefined;
  /** Its wait for that mutex was cancelled already: it could have gone on without it. */
  readonly cancelled: boolean;
}
