import type { Chain } from "./chain.js";
import type { HoldRecord, Hold } from "./hold.js";
import { observer } from "./observer.js";
import { scheduler } from "./scheduler.js";
import type { Waiter } from "./wait-queue.js";

let tasks = 0;

/**
 * One line of execution that can own locks: a client's command, an administrator's action, a device's worker.
 *
 * Async functions have no thread identity, so a task is passed explicitly, as Go passes a context.
 * A task awaits one lock at a time.
 */
export class Task implements Disposable {
  /** Tells tasks of one name apart in reports, as a pid does; counts up from 1. */
  readonly id: number;

  /** Aborting it ends a wait for a lock with the signal's reason (Linux: a killable wait). */
  readonly signal: AbortSignal | undefined;

  /** The task that awaits this one, and so keeps its own holds meanwhile. */
  readonly parent: Task | undefined;

  /**
   * The validator's chain of the classes held, the chain of the parent's that it stands on, the one that an
   * acquisition leads to, and the wait. @internal
   */
  chain: Chain | undefined;
  /** @internal */
  base: Chain | undefined;
  /** @internal */
  pending: Chain | undefined;
  /** @internal */
  waiting: Waiter | undefined;

  /** Waits of the tasks that this one awaits. @internal */
  childWaits: Set<Waiter> | undefined;
  /** `holds`, as the locks and the validator see them. @internal */
  readonly records: HoldRecord[] = [];
  /** Tasks that hold, each on its own, what this one's code has acquired without naming a task. @internal */
  branches: Set<Task> | undefined;
  /** Others may release what it holds. @internal */
  readonly loose: boolean = false;
  /** `end` was called, or `fail` with what was thrown. @internal */
  over = false;
  /** @internal */
  thrown: unknown;

  /** @param options.id of the line of execution that this task is a part of. Default: one of its own. */
  constructor(
    readonly name: string,
    options: { signal?: AbortSignal | undefined; parent?: Task | undefined; id?: number } = {},
  ) {
    this.id = options.id ?? ++tasks;
    this.signal = options.signal;
    this.parent = options.parent;
  }

  /** What the task holds, in the order of acquisition. */
  get holds(): readonly Hold[] {
    return this.records;
  }

  /**
   * A place where other tasks could run: nothing at all, except where interleavings are explored. For code that
   * models a preemptive system: `const preempted = task.preempt(); if (preempted) await preempted;`.
   */
  preempt(): void | Promise<void> {
    return scheduler?.preempt(this);
  }

  /** Ends the task: the validator reports locks that it still holds. `using task = new Task(…)` does it. */
  end(): void {
    this.over = true;
    observer?.ended(this);
  }

  /** Ends the task by an exception, which the report of locks that it still holds quotes. */
  fail(thrown: unknown): void {
    this.thrown = thrown;
    this.end();
  }

  [Symbol.dispose](): void {
    this.end();
  }

  /** For locks only. @internal */
  push(hold: HoldRecord): void {
    this.records.push(hold);
    observer?.acquired(hold);
  }

  /** For locks only. @internal */
  pop(hold: HoldRecord): void {
    const at = this.records.lastIndexOf(hold);
    const last = at === this.records.length - 1;
    if (last) this.records.pop();
    else this.records.splice(at, 1);
    hold.pins = 0;
    observer?.released(hold, last);
  }

  /** The latest hold of `lock` in one of two modes. @internal */
  find(lock: Hold["lock"], mode?: Hold["mode"]): HoldRecord | undefined {
    for (let i = this.records.length - 1; i >= 0; i--) {
      const hold = this.records[i]!;
      if (hold.lock === lock && (mode === undefined || hold.mode === mode)) return hold;
    }
    return undefined;
  }
}
