import {
  RwSemaphore,
  type AcquireOptions,
  type Lock,
  type Shared,
  type Task,
  type Waiter,
} from "@vfiokit/lockdep";
import { EXCLUSIVE, READ, READ_RECURSIVE, type Access, type Scheduler } from "@vfiokit/lockdep/hooks";
import type { EventLog } from "./event-log.js";
import type { Findings } from "./findings.js";
import { holds, isTaken } from "./mutexes.js";
import { Names } from "./names.js";
import type { Detail, Needs } from "./needs.js";
import type { Pauses } from "./pauses.js";
import { Signals } from "./signals.js";
import type { Threads } from "./threads.js";

/**
 * What the program's locks and variables tell. The locks are its own: it is only decided here when their promises
 * resolve.
 */
export class Locks implements Scheduler {
  readonly names = new Names();
  readonly signals: Signals;
  /** Mutexes of detail 0 that are taken: since which event. */
  readonly #taken = new Map<string, number>();

  constructor(
    private readonly needs: Needs,
    private readonly findings: Findings,
    private readonly threads: Threads,
    private readonly log: EventLog,
    private readonly pauses: Pauses,
  ) {
    this.signals = new Signals(needs, {
      touch: (name, writes) => log.touch(name, writes),
      touchEverything: () => log.touchEverything(),
      needQueue: (lock) => this.#need(lock, 2),
      isSettingUp: () => threads.settingUp,
    });
  }

  /** A mutex of detail 0 was free, and is taken by the event under way. */
  took(key: string): void {
    this.#taken.set(key, this.log.at);
  }

  // Taking a lock.

  arrive(task: Task, lock: Lock, access: Access, options?: AcquireOptions, verb?: string): Promise<void> {
    const key = this.names.of(lock);
    const what = verb ?? VERBS.get(access) ?? (lock instanceof RwSemaphore ? "write" : "lock");
    if (lock.detail < 2) {
      for (const each of [task.signal, options?.signal]) if (each) this.signals.mayCancel(each, key);
      if (options?.timeoutMs !== undefined) this.#need(key, 2); // the time runs in the queue
    }
    const detail = this.#detail(lock, key);
    return this.pauses.park(this.threads.of(task), {
      label: `${what}(${key})`,
      touches: { key, writes: access === EXCLUSIVE || detail === 3 },
      arrival: { task, lock, key, detail },
    });
  }

  arrived(task: Task, lock: Lock, failed: boolean): void | Promise<void> {
    const thread = this.threads.of(task);
    if (thread.waiting ?? thread.pending) return;
    const key = this.names.of(lock);
    const detail = this.#detail(lock, key);
    // What was thrown is caught at once. A promise's refusal tells what the lock was like, and that can have changed
    // before the task goes on.
    const least = holds(task, lock) ? 2 : 1;
    if (failed || detail < least) this.log.goesOn(undefined);
    else return this.pauses.park(thread, { label: `resume(${key})` });
  }

  queued(waiter: Waiter): void {
    this.threads.of(waiter.task).waiting = waiter;
    this.log.touch(this.names.of(waiter.lock), true);
  }

  resume(waiter: Waiter, resume: () => void): void {
    const thread = this.threads.of(waiter.task);
    thread.waiting = undefined;
    // The queue changed hands: whoever looks at this lock does not commute with that.
    const key = this.names.of(waiter.lock);
    this.log.touch(key, true);
    thread.pending = { label: `resume(${key})`, enabledBy: [this.log.at], go: resume };
  }

  trying(_task: Task, lock: Lock, access: Access): void {
    const key = this.names.of(lock);
    this.#need(key, 2, lock.detail);
    const exclusive = access === EXCLUSIVE || this.#detail(lock, key) === 3;
    this.log.touch(key, exclusive && !isTaken(lock));
  }

  // Letting go of it, and looking at it.

  releasing(_task: Task, lock: Lock, access: Access): void {
    const key = this.names.of(lock);
    const detail = this.#detail(lock, key);
    this.log.touch(key, access === EXCLUSIVE || detail === 3);
    if (detail > 0) return;
    this.log.release(key, this.#taken.get(key) ?? this.log.at);
    this.#taken.delete(key);
  }

  touching(lock: Lock, writes: boolean, about?: Task): void {
    if (about && about === this.threads.active?.task) return; // nobody else changes that while it runs
    const key = this.names.of(lock);
    this.#need(key, writes ? 2 : 3, lock.detail);
    this.log.touch(key, writes);
  }

  // What are no locks.

  lookingAtSignals(task: Task, signal: AbortSignal | undefined): void {
    for (const each of [task.signal, signal]) if (each) this.signals.lookAt(each);
  }

  preempt(task: Task): Promise<void> {
    return this.pauses.park(this.threads.of(task), { label: "preempt" });
  }

  mine<P extends Promise<unknown>>(promise: P): P {
    return this.pauses.mine(promise);
  }

  read(cell: Shared<unknown>): void {
    if (!this.threads.settingUp) this.log.touch(this.names.of(cell), false);
  }

  written(cell: Shared<unknown>): void {
    if (!this.threads.settingUp) this.log.touch(this.names.of(cell), true);
  }

  /** The lock's queue is to be explored in more detail from now on, as it turns out. */
  #need(name: string, detail: Detail, least: Detail = 0): void {
    if (!this.threads.settingUp && detail > least && !this.needs.lock(name, detail))
      this.findings.again = true;
  }

  #detail(lock: Lock, name: string): Detail {
    return Math.max(lock.detail, this.needs.locks.get(name) ?? 0) as Detail;
  }
}

const VERBS = new Map<Access, string>([
  [READ, "read"],
  [READ_RECURSIVE, "read_recursive"],
]);
