import { EXCLUSIVE } from "./access.js";
import { LockError } from "./errors.js";
import { HoldRecord } from "./hold.js";
import { Lock, type Wait } from "./lock.js";
import { observer } from "./observer.js";
import { arriving, ours, scheduler, type Scheduler } from "./scheduler.js";
import type { Task } from "./task.js";
import { abortedBy, Waiter, WaitQueue, type AcquireOptions } from "./wait-queue.js";

const NOBODY: readonly Task[] = [];

/**
 * A function that runs once, however many tasks want what it gives: the first one runs it, the others wait for it
 * (Rust: OnceCell::get_or_try_init).
 *
 * While it runs it is a lock, held by the task that runs it: the validator knows its order among the other locks, and
 * sees the task that waits for itself. The order is checked by every call, also by one that finds it done: another
 * time, it might not be.
 *
 * If the function fails, the task that ran it and all who wait then get its error, and the next call runs it again.
 * Whoever is aborted while it waits only stops waiting.
 */
export class Once<T> extends Lock {
  #state: "new" | "running" | "done" = "new";
  #value: T | undefined;
  readonly #waiters = new WaitQueue(this);
  readonly #hold = new HoldRecord(this);

  constructor(
    private readonly make: (task: Task) => T | Promise<T>,
    className?: string,
    label?: string,
  ) {
    super(className, label);
  }

  /** It has run, and did not fail. */
  get done(): boolean {
    scheduler?.touching(this, false);
    return this.#state === "done";
  }

  /**
   * What the function gives: without a promise once it is known.
   * @throws what the function throws
   * @throws LockError if `task` runs the function just now: it would wait for itself.
   * @throws the abort reason or a LockTimeout, when a signal or a time limit ends the wait.
   */
  get(task: Task, options?: AcquireOptions): T | Promise<T> {
    return scheduler ? this.#arriveToGet(scheduler, task, options) : this.#get(task, options);
  }

  /** A method of its own: what its closure captures would be allocated on every call. */
  #arriveToGet(by: Scheduler, task: Task, options: AcquireOptions | undefined): Promise<T> {
    return arriving(by, () => this.#get(task, options), task, this, EXCLUSIVE, options, "once");
  }

  override holders(): readonly Task[] {
    scheduler?.touching(this, false);
    return this.#state === "running" ? [this.#hold.task] : NOBODY;
  }

  override waiters(): readonly Wait[] {
    return this.#waiters.waits;
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    throw new LockError(`${hold.task.name} cannot release ${this.className}: it runs to its end`);
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.remove(waiter);
  }

  #get(task: Task, options: AcquireOptions | undefined): T | Promise<T> {
    if (this.#state === "running" && this.#hold.task === task) {
      observer?.recursion(task, this, EXCLUSIVE);
      throw new LockError(`${task.name} wants what ${this.className} gives, and is to give it`);
    }
    const subclass = options?.subclass ?? 0;
    observer?.acquire(task, this, EXCLUSIVE, subclass, false);
    if (this.#state === "done") {
      task.pending = undefined; // nothing is held: only the order was to be checked
      return this.#value!;
    }
    if (this.#state === "new") return this.#run(task, subclass);
    const aborted = abortedBy(task, options?.signal);
    if (aborted) return Promise.reject(aborted.reason as Error);
    const known = this.#waiters.enter(new Waiter(task, this, EXCLUSIVE, subclass, options));
    return ours(ours(known).then(() => this.#value!));
  }

  #run(task: Task, subclass: number): T | Promise<T> {
    const hold = this.#hold;
    hold.task = task;
    hold.subclass = subclass;
    this.#state = "running";
    task.push(hold);
    let made: T | Promise<T>;
    try {
      made = this.make(task);
    } catch (error) {
      this.#failed(error);
      throw error;
    }
    if (!(made instanceof Promise)) return this.#succeeded(made);
    if (scheduler) return this.#goOnAfter(made, scheduler, task);
    return made.then(
      (value) => this.#succeeded(value),
      (error: unknown) => {
        this.#failed(error);
        throw error;
      },
    );
  }

  /** The same where interleavings are explored: others may run before the task goes on. */
  async #goOnAfter(made: Promise<T>, by: Scheduler, task: Task): Promise<T> {
    try {
      this.#succeeded(await made);
    } catch (error) {
      this.#failed(error);
      await by.arrived(task, this, false);
      throw error;
    }
    await by.arrived(task, this, false);
    return this.#value!;
  }

  #succeeded(value: T): T {
    this.#value = value;
    this.#end("done");
    this.#waiters.releaseAll();
    return value;
  }

  #failed(error: unknown): void {
    this.#end("new");
    for (let next = this.#waiters.first; next; next = this.#waiters.first) next.fail(error);
  }

  #end(state: "new" | "done"): void {
    scheduler?.touching(this, true);
    this.#state = state;
    this.#hold.task.pop(this.#hold);
  }
}
