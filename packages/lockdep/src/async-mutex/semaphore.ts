import { EXCLUSIVE } from "../access.js";
import { HoldRecord } from "../hold.js";
import { Lock, type Wait } from "../lock.js";
import { ambientTask, withTask } from "../node/index.js";
import { observer } from "../observer.js";
import { Task } from "../task.js";
import { Waiter } from "../wait-queue.js";
import { E_CANCELED } from "./errors.js";
import { TAKE, type Releaser, type Request, type SemaphoreInterface, type Takeable } from "./types.js";

class QueuedRequest extends Waiter {
  /** The semaphore's value before the grant. */
  value = 0;

  constructor(
    lock: Lock,
    readonly request: Request,
  ) {
    super(request.task, lock, EXCLUSIVE, 0, undefined);
  }
}

/** The semaphore as the validator sees it. One that starts at 1 is a mutex; more than one holder has no order. */
class SemaphoreLock extends Lock {
  readonly holds: HoldRecord[] = [];
  readonly queue: QueuedRequest[] = [];

  override holders(): readonly Task[] {
    return this.holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    return this.queue.map(({ task, since }) => ({ task, since, mode: "exclusive" }));
  }

  override release(hold: HoldRecord): void {
    this.holds.splice(this.holds.indexOf(hold), 1);
    hold.task.pop(hold);
  }

  override abandon(waiter: Waiter): void {
    this.queue.splice(this.queue.indexOf(waiter as QueuedRequest), 1);
  }
}

/** async-mutex's Semaphore, checked by the validator if it is made with the value 1. */
export class Semaphore implements SemaphoreInterface, Takeable {
  readonly #lock = new SemaphoreLock();
  readonly #checked: boolean;
  #value: number;
  #unlockWaiters: { readonly weight: number; readonly priority: number; readonly resolve: () => void }[] = [];

  constructor(
    value: number,
    private readonly cancelError: Error = E_CANCELED,
  ) {
    this.#value = value;
    this.#checked = value === 1;
  }

  acquire(weight = 1, priority = 0): Promise<[number, Releaser]> {
    // Whoever asks keeps the lock after this call: it is held by the task around, if there is one.
    const task = ambientTask() ?? new Task("acquire()");
    return this[TAKE]({ task, weight, priority });
  }

  runExclusive<T>(callback: (value: number) => Promise<T> | T, weight = 1, priority = 0): Promise<T> {
    return exclusively(this, callback, weight, priority);
  }

  [TAKE](request: Request): Promise<[number, Releaser]> {
    const { weight } = request;
    if (!(weight > 0)) throw new Error(`invalid weight ${weight}: must be positive`);
    return this.#take(request);
  }

  async #take(request: Request): Promise<[number, Releaser]> {
    const { task, weight, priority, orElse } = request;
    const free = weight <= this.#value && this.#places(priority) === 0;
    if (!free && orElse) throw orElse;
    if (this.#checked) observer?.acquire(task, this.#lock, EXCLUSIVE, 0, orElse !== undefined);
    if (free) {
      const value = this.#value;
      return [value, this.#grant(request)];
    }
    const queued = new QueuedRequest(this.#lock, request);
    this.#lock.queue.splice(this.#places(priority), 0, queued);
    if (this.#checked) observer?.contended(queued);
    await queued.promise;
    return [queued.value, this.#releaser(queued.request)];
  }

  /** How many in the queue come before a request of this priority. */
  #places(priority: number): number {
    return this.#lock.queue.findLastIndex(({ request }) => request.priority >= priority) + 1;
  }

  #grant(request: Request): Releaser {
    this.#value -= request.weight;
    if (this.#checked) {
      const hold = new HoldRecord(this.#lock);
      hold.task = request.task;
      hold.trylock = request.orElse !== undefined;
      this.#lock.holds.push(hold);
      request.task.push(hold);
    }
    return this.#releaser(request);
  }

  #releaser({ task, weight }: Request): Releaser {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#give(weight, task);
    };
  }

  waitForUnlock(weight = 1, priority = 0): Promise<void> {
    if (!(weight > 0)) throw new Error(`invalid weight ${weight}: must be positive`);
    if (this.#isUnlocked(weight, priority)) return Promise.resolve();
    return new Promise((resolve) => this.#unlockWaiters.push({ weight, priority, resolve }));
  }

  #isUnlocked(weight: number, priority: number): boolean {
    const first = this.#lock.queue[0];
    return weight <= this.#value && (!first || first.request.priority < priority);
  }

  isLocked(): boolean {
    return this.#value <= 0;
  }

  getValue(): number {
    return this.#value;
  }

  setValue(value: number): void {
    this.#value = value;
    this.#dispatch();
  }

  release(weight = 1): void {
    if (!(weight > 0)) throw new Error(`invalid weight ${weight}: must be positive`);
    this.#give(weight, undefined);
  }

  cancel(): void {
    for (const queued of [...this.#lock.queue]) queued.fail(this.cancelError);
  }

  /** @param task whose hold ends; anybody's, if it is not told: async-mutex lets anybody release. */
  #give(weight: number, task: Task | undefined): void {
    const { holds } = this.#lock;
    const hold = task ? holds.find((each) => each.task === task) : holds[0];
    if (hold) this.#lock.release(hold);
    this.#value += weight;
    this.#dispatch();
  }

  #dispatch(): void {
    this.#tellUnlocked();
    for (
      let next = this.#lock.queue[0];
      next && next.request.weight <= this.#value;
      next = this.#lock.queue[0]
    ) {
      this.#lock.queue.shift();
      next.value = this.#value;
      this.#grant(next.request);
      next.grant();
      this.#tellUnlocked();
    }
  }

  #tellUnlocked(): void {
    const told = this.#unlockWaiters.filter(({ weight, priority }) => this.#isUnlocked(weight, priority));
    if (told.length === 0) return;
    this.#unlockWaiters = this.#unlockWaiters.filter((waiter) => !told.includes(waiter));
    told.sort((a, b) => b.priority - a.priority);
    for (const { resolve } of told) resolve();
  }
}

/** Runs `callback` with the lock, as a task of its own that the current one awaits. */
export async function exclusively<T>(
  lock: Takeable,
  callback: (value: number) => Promise<T> | T,
  weight: number,
  priority: number,
): Promise<T> {
  const parent = ambientTask();
  const task = new Task(parent?.name ?? "runExclusive()", { parent, signal: parent?.signal });
  const [value, release] = await lock[TAKE]({ task, weight, priority });
  try {
    return await withTask(task, () => callback(value));
  } finally {
    release();
  }
}
