import type { ChainTree } from "./chain-tree.js";
import { heldLocks, place } from "./describe.js";
import type { LockdepError } from "./errors.js";
import type { LockUse, Place, Problem } from "./problem.js";
import { captureText, type EntryPoints, type Site } from "./stack.js";
import type { Task } from "./task.js";

/** A program with this many distinct problems does not need one more. */
const MAX_REPORTS = 1000;

/** Gets every distinct problem once, and may return an error: it is thrown to whoever caused the problem. */
export type Sink = (problem: Problem) => LockdepError | undefined;

/** Hands over problems, each once, with what the tasks hold and where they are. */
export class Reporter {
  readonly #reported = new Set<string>();

  /** @param siteOf where a task is now. Default: the stack of the caller */
  constructor(
    private readonly sink: Sink,
    private readonly siteOf: ((task: Task) => Site | undefined) | undefined,
    private readonly chains: ChainTree,
  ) {}

  /** Hands a problem that was not reported before to the sink. */
  report(key: string, problem: () => Problem): LockdepError | undefined {
    if (this.#reported.has(key) || this.#reported.size >= MAX_REPORTS) return undefined;
    this.#reported.add(key);
    return this.sink(problem());
  }

  /** The same, where it is the caller who has caused it. */
  raise(key: string, problem: () => Problem): void {
    const error = this.report(key, problem);
    if (error) throw error;
  }

  /** The same, once for each place. */
  raiseHere(
    task: Task,
    key: string,
    problem: (held: LockUse[], at: Place) => Problem,
    entryPoints: EntryPoints = [],
  ): void {
    const at = place(this.site(task, entryPoints));
    const where = at[0] ? `${at[0].file}:${at[0].line}` : "";
    this.raise(`${key} ${where}`, () => problem(this.held(task), at));
  }

  site(task: Task, entryPoints: EntryPoints): Site | undefined {
    return this.siteOf ? this.siteOf(task) : captureText(entryPoints);
  }

  /** What the task holds, and what those hold that await it. */
  held(task: Task): LockUse[] {
    return heldLocks(task, this.chains.of(task));
  }
}
