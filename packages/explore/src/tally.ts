import type { Execution } from "./execution.js";
import type { Needs } from "./needs.js";
import { foundFailure, type Found, type FoundFailure } from "./report.js";

/** What has come of executions so far. */
export interface Counts {
  readonly executions: number;
  /** Executions ended early, since they could only repeat what was explored. */
  readonly pruned: number;
  /** Events of all executions. */
  readonly events: number;
  /** Events of the longest execution. */
  readonly maxDepth: number;
  /** Tasks in one execution, at most. */
  readonly tasks: number;
}

/** What a verdict rests on, or does not. */
export interface Basis {
  /** What was met that the explorer cannot see, and so has not tried in other orders. */
  readonly unknown: readonly string[];
  /** What of the world was virtual: random numbers, time, timers. */
  readonly virtual: readonly string[];
  /** What was taken for granted of watched objects. */
  readonly restsOn: readonly string[];
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
  #tasks = 0;
  readonly #unknown = new Set<string>();
  readonly #virtual = new Set<string>();
  readonly #restsOn = new Set<string>();
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
      tasks: this.#tasks,
    };
  }

  get basis(): Basis {
    return {
      unknown: [...this.#unknown],
      virtual: [...this.#virtual].sort(),
      restsOn: [...this.#restsOn].sort(),
    };
  }

  get failures(): readonly FoundFailure[] {
    return [...this.#failures.values()];
  }

  /** Milliseconds since it began. */
  get time(): number {
    return performance.now() - this.#begun;
  }

  /** All of it, but how far the search came. */
  get found(): Omit<Found, "ended" | "bounded"> {
    const { counts, basis, failures, time } = this;
    return { ...counts, ...basis, failures, time };
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
  add(execution: Execution, needs: Needs): void {
    const { length } = execution.events;
    this.#events += length;
    this.#maxDepth = Math.max(this.#maxDepth, length);
    if (execution.abandoned === "pruned") this.#pruned++;
    this.#tasks = Math.max(this.#tasks, execution.threads.filter(({ mustEnd }) => mustEnd).length);
    this.#rest(execution.findings);
    for (const failure of execution.findings.failures) this.#fail(foundFailure(execution, failure, needs));
  }

  /** What came of others, which come after all that was added before. */
  merge(others: Counts & Basis & { readonly failures: readonly FoundFailure[] }): void {
    this.#executions += others.executions;
    this.#pruned += others.pruned;
    this.#events += others.events;
    this.#maxDepth = Math.max(this.#maxDepth, others.maxDepth);
    this.#tasks = Math.max(this.#tasks, others.tasks);
    this.#rest(others);
    for (const failure of others.failures) this.#fail(failure);
  }

  #rest({ unknown, virtual, restsOn }: Record<keyof Basis, Iterable<string>>): void {
    for (const what of unknown) this.#unknown.add(what);
    for (const what of virtual) this.#virtual.add(what);
    for (const what of restsOn) this.#restsOn.add(what);
  }

  #fail(failure: FoundFailure): void {
    const key = `${failure.kind} ${failure.message}`;
    if (!this.#failures.has(key)) this.#failures.set(key, failure);
  }
}
