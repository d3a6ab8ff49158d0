import { EXCLUSIVE } from "../access.js";
import { HoldRecord } from "../hold.js";
import { Lock, type Wait } from "../lock.js";
import { withTask } from "../node/index.js";
import { Acquisition, beginAcquisition, running } from "../node/acquisition.js";
import { observer } from "../observer.js";
import { arriving, ours, scheduler } from "../scheduler.js";
import { methodsOf, type EntryPoints } from "../stack.js";
import { Task } from "../task.js";
import { clockInForce, Waiter } from "../wait-queue.js";
import { TAKE, type Releaser, type Request, type Takeable, type Ticket } from "./types.js";

class QueuedRequest extends Waiter {
  /** The lock's value before the grant. */
  value = 0;

  constructor(
    lock: Lock,
    readonly request: Request,
  ) {
    super(request.task, lock, EXCLUSIVE, 0, undefined);
  }

  override get bound(): "signal" | "time limit" | undefined {
    return this.request.limit ? "time limit" : super.bound;
  }
}

interface UnlockWaiter {
  readonly weight: number;
  readonly priority: number;
  readonly resolve: () => void;
}

/**
 * async-mutex's semaphore, as the validator sees it. One that starts at 1 is a mutex, and checked; more than one
 * holder has no order.
 */
export class WeightedLock extends Lock implements Takeable {
  /** Anybody may release it, raise its value, or cancel its waiters: where interleavings are explored, no event of it commutes. */
  override readonly detail = 3;
  readonly #holds: HoldRecord[] = [];
  readonly #queue: QueuedRequest[] = [];
  readonly #checked: boolean;
  readonly #entryPoints: EntryPoints;
  #value: number;
  #unlockWaiters: UnlockWaiter[] = [];

  /** @param owner the object that users see, and the function that constructs it */
  constructor(
    value: number,
    private readonly cancelError: Error,
    owner: object,
    constructor: object,
  ) {
    super(undefined, undefined, constructor);
    this.#value = value;
    this.#checked = value === 1;
    this.#entryPoints = methodsOf(owner);
  }

  override get entryPoints(): EntryPoints {
    return this.#entryPoints;
  }

  [TAKE](request: Request): Promise<Ticket> {
    checkWeight(request.weight);
    if (scheduler) return arriving(scheduler, () => this.#take(request), request.task, this, EXCLUSIVE);
    return this.#take(request);
  }

  async #take(request: Request): Promise<Ticket> {
    const { task, weight, priority, orElse, limit } = request;
    const free = weight <= this.#value && this.#places(priority) === 0;
    if (!free && orElse) throw orElse;
    if (this.#checked) observer?.acquire(task, this, EXCLUSIVE, 0, orElse !== undefined);
    if (free) {
      const value = this.#value;
      return [value, this.#grant(request)];
    }
    const queued = new QueuedRequest(this, request);
    this.#queue.splice(this.#places(priority), 0, queued);
    const clock = clockInForce();
    const timer = limit && clock.setTimeout(() => queued.fail(limit.error), limit.timeout);
    if (this.#checked) observer?.contended(queued);
    scheduler?.queued(queued);
    try {
      await ours(queued.promise);
    } finally {
      if (limit) clock.clearTimeout(timer);
    }
    return [queued.value, this.#releaser(request)];
  }

  /** How many in the queue come before a request of this priority. */
  #places(priority: number): number {
    return this.#queue.findLastIndex(({ request }) => request.priority >= priority) + 1;
  }

  #grant(request: Request): Releaser {
    this.#value -= request.weight;
    if (this.#checked) {
      const hold = new HoldRecord(this);
      hold.task = request.task;
      hold.trylock = request.orElse !== undefined;
      this.#holds.push(hold);
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

  waitForUnlock(weight: number, priority: number): Promise<void> {
    checkWeight(weight);
    scheduler?.touching(this, true);
    if (this.#isUnlocked(weight, priority)) return Promise.resolve();
    return new Promise((resolve) => this.#unlockWaiters.push({ weight, priority, resolve }));
  }

  #isUnlocked(weight: number, priority: number): boolean {
    const first = this.#queue[0];
    return weight <= this.#value && (!first || first.request.priority < priority);
  }

  get value(): number {
    scheduler?.touching(this, false);
    return this.#value;
  }

  set value(value: number) {
    scheduler?.touching(this, true);
    this.#value = value;
    this.#dispatch();
  }

  /** Anybody may: the lock does not ask who holds it. */
  give(weight: number): void {
    checkWeight(weight);
    this.#give(weight, undefined);
  }

  cancel(): void {
    scheduler?.touching(this, true);
    for (const queued of [...this.#queue]) queued.fail(this.cancelError);
  }

  /** @param task whose hold ends; the oldest, if that is over or not told. */
  #give(weight: number, task: Task | undefined): void {
    scheduler?.touching(this, true);
    const hold = this.#holds.find((each) => each.task === task) ?? this.#holds[0];
    if (hold) this.release(hold);
    this.#value += weight;
    this.#dispatch();
  }

  #dispatch(): void {
    this.#tellUnlocked();
    for (let next = this.#queue[0]; next && next.request.weight <= this.#value; next = this.#queue[0]) {
      this.#queue.shift();
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

  override holders(): readonly Task[] {
    return this.#holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    return this.#queue.map(({ task, since }) => ({ task, since, mode: "exclusive" }));
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    this.#holds.splice(this.#holds.indexOf(hold), 1);
    hold.task.pop(hold);
    if (hold.task instanceof Acquisition) hold.task.leave();
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#queue.splice(this.#queue.indexOf(waiter as QueuedRequest), 1);
  }
}

export function checkWeight(weight: number): void {
  if (!(weight > 0)) throw new Error(`invalid weight ${weight}: must be positive`);
}

/** Takes the lock for the code that calls this, which keeps it until it calls the releaser, or somebody does. */
export async function acquire(lock: Takeable, weight: number, priority: number): Promise<Ticket> {
  const acquisition = beginAcquisition("acquire()");
  try {
    const ticket = await lock[TAKE]({ task: acquisition, weight, priority });
    acquisition.answered = true;
    return ticket;
  } catch (error) {
    acquisition.leave();
    throw error;
  }
}

/** Runs `callback` with the lock, as a task of its own that the current one awaits. */
export async function exclusively<T>(
  lock: Takeable,
  callback: (value: number) => Promise<T> | T,
  weight: number,
  priority: number,
): Promise<T> {
  const parent = running();
  const task = new Task(parent?.name ?? "runExclusive()", { parent, signal: parent?.signal });
  const [value, release] = await lock[TAKE]({ task, weight, priority });
  try {
    return await withTask(task, () => callback(value));
  } finally {
    release();
  }
}
