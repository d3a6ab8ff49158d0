import type { Footprint } from "./footprint.js";

/** One event of an execution: what one task did between two places where others could run. */
export interface ExecutedEvent {
  /** The task, by the stable key of its thread. */
  readonly thread: string;
  /** What it went on from, for people: "lock(memoryLock)", "step". */
  readonly label: string;
  readonly footprint: Footprint;
  /** Index of the event that made this one possible (a release that handed a lock over, a task's creation), or -1. */
  readonly enabledBy: number;
  /** Threads that could have run instead, this one included. */
  readonly enabled: readonly string[];
  /** Mutexes that the event let go, and the event that had taken each. */
  readonly released: ReadonlyMap<string, number>;
  /** The lock that the event set out to take, if it did. */
  readonly took: string | undefined;
}
