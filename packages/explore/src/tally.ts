import type { Execution } from "./execution.js";
import type { Detail } from "./needs.js";
import { foundFailure, type FoundFailure } from "./report.js";

/** What has come of executions so far. */
export interface Counts {
  readonly executions: number;
  /** Executions ended early, since they could only repeat what was explored. */
  readonly pruned: number;
  /** Events of all executions. */
  readonly events: number;
  /** Events of the longest execution. */
  readonly maxDepth: number;
}

/** How far an exploration has come. */
export interface Progress {
  readonly executions: number;
  readonly pruned: number;
  readonly events: number;
  readonly failures: number;
  /** Milliseconds. */
  readonly time: number;
}

/** Counts executions, and keeps one failure of a kind and message: the one that came first. */
export class Tally {
  #executions = 0;
  #pruned = 0;
  #events = 0;
  #maxDepth = 0;
  readonly #failures = new Map<string, FoundFailure>();
  readonly #begun = performance.now();

  get executions(): number {
    return this.#executions;
  }

  get counts(): Counts {
    return {
      executions: this.#executions,
      pruned: this.#pruned,
      events: this.#events,
      maxDepth: this.#maxDepth,
    };
  }

  /** What was met that the explorer cannot see. */
  readonly unknown = new Set<string>();

  get failures(): readonly FoundFailure[] {
    return [...this.#failures.values()];
  }

  /** Milliseconds since it began. */
  get time(): number {
    return performance.now() - this.#begun;
  }

  get progress(): Progress {
    const { executions, pruned, events } = this.counts;
    return { executions, pruned, events, failures: this.#failures.size, time: this.time };
  }

  /** An execution that is of no use is under way: it counts, and says nothing. */
  begin(): void {
    this.#executions++;
  }

  /** What came of the execution that began. */
  add(execution: Execution, locks: ReadonlyMap<string, Detail>): void {
    const { length } = execution.events;
    this.#events += length;
    this.#maxDepth = Math.max(this.#maxDepth, length);
    if (execution.abandoned === "pruned") this.#pruned++;
    for (const what of execution.unknown) this.unknown.add(what);
    for (const failure of execution.failures) this.#fail(foundFailure(execution, failure, locks));
  }

  /** What came of others, which come after all that was added before. */
  merge(counts: Counts, failures: readonly FoundFailure[], unknown: readonly string[]): void {
    this.#executions += counts.executions;
    this.#pruned += counts.pruned;
    this.#events += counts.events;
    this.#maxDepth = Math.max(this.#maxDepth, counts.maxDepth);
    for (const failure of failures) this.#fail(failure);
    for (const what of unknown) this.unknown.add(what);
  }

  #fail(failure: FoundFailure): void {
    const key = `${failure.kind} ${failure.message}`;
    if (!this.#failures.has(key)) this.#failures.set(key, failure);
  }
}
