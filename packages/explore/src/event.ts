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
  /**
   * What the event let go that kept others from going on, and the event since when it did: mutexes, and the clock,
   * which a timer holds up until it fires or is stopped.
   */
  readonly released: ReadonlyMap<string, readonly number[]>;
  /** What it could not do without. */
  readonly took: string | undefined;
  /** A timer fires. */
  readonly timer: boolean;
  /** Timers that it stopped, as what they would have done next. */
  readonly stopped: readonly ExecutedEvent[];
}
