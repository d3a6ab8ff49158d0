import { Mutex, Shared, type Lock, type Task, type Waiter } from "@vfiokit/lockdep";
import { EXCLUSIVE, READ_RECURSIVE, schedule, type Access, type Scheduler } from "@vfiokit/lockdep/hooks";
import type { ExecutedEvent } from "./event.js";
import { Footprint } from "./footprint.js";
import { nextTurn } from "./turn.js";

/** Why an execution is a failure. */
export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
}

export type FailureKind =
  /** Tasks wait for each other's locks. */
  | "deadlock"
  /** A task waits for something that nobody is left to do. */
  | "lost-wakeup"
  /** More events than the bound allows: a loop that makes no progress, perhaps. */
  | "livelock"
  /** A task, an invariant or a final check threw. */
  | "assertion"
  /** A promise was rejected and nobody looked. */
  | "unhandled-rejection"
  /** The validator of lock orders reported a problem. */
  | "lockdep";

/** A place where a task stopped, and how it goes on. */
interface Pending {
  readonly label: string;
  /** Index of the event that made it possible, or -1. */
  readonly enabledBy: number;
  /** The mutex that it needs free: it cannot go on before. */
  readonly mutex?: { readonly lock: Mutex; readonly task: Task };
  /** What going on touches by itself. */
  readonly object?: { readonly key: string; readonly writes: boolean };
  readonly took?: string;
  go(): void;
}

/** A task of the execution. */
export interface Thread {
  /** The same in every execution that creates it. */
  readonly key: string;
  readonly name: string;
  pending: Pending | undefined;
  waiting: Waiter | undefined;
  done: boolean;
  children: number;
}

/** Picks the thread that goes on. `undefined` ends the execution: it is of no further interest. */
export type Picker = (enabled: readonly Thread[], events: readonly ExecutedEvent[]) => Thread | undefined;

export interface ExecutionLimits {
  readonly maxEvents: number;
}

/**
 * One run of the program under one schedule. Everything that a task does between two places where it could be
 * preempted is one event; the picker decides whose event is next. Locks and clocks are the program's own: the
 * scheduler only decides when their promises resolve.
 */
export class Execution implements Scheduler {
  readonly events: ExecutedEvent[] = [];
  readonly threads: Thread[] = [];
  failure: Failure | undefined;
  /** The picker ended it. */
  abandoned = false;

  readonly #byTask = new Map<Task, Thread>();
  /** Mutexes that are taken: since which event. */
  readonly #locks = new Map<string, number>();
  #active: Thread | undefined;
  #footprint = new Footprint();
  #released = new Map<string, number>();
  #settingUp = true;
  /** Ids of what the set-up made lie between these. */
  #setupLocks: [from: number, to: number] = [new Mutex("").id, Infinity];
  #setupCells: [from: number, to: number] = [new Shared("", 0).id, Infinity];

  /** Declares a task; it begins when the picker lets it. */
  start(task: Task, run: () => Promise<void>): void {
    const thread = this.#thread(task);
    thread.pending = {
      label: "begin",
      enabledBy: this.events.length - 1,
      go: () => {
        run().then(
          () => (thread.done = true),
          (error: unknown) => {
            thread.done = true;
            this.fail(
              "assertion",
              `${thread.name}: ${error instanceof Error ? error.message : String(error)}`,
            );
          },
        );
      },
    };
  }

  endSetUp(): void {
    this.#settingUp = false;
    this.#setupLocks[1] = new Mutex("").id;
    this.#setupCells[1] = new Shared("", 0).id;
  }

  fail(kind: FailureKind, message: string): void {
    this.failure ??= { kind, message };
  }

  /** Runs to the end, or to the first failure. */
  async run(pick: Picker, limits: ExecutionLimits, afterEvent: () => void): Promise<void> {
    schedule(this);
    try {
      await nextTurn();
      while (!this.failure) {
        const enabled = this.threads.filter((thread) => this.#isEnabled(thread));
        if (enabled.length === 0) break;
        if (this.events.length >= limits.maxEvents) {
          this.fail("livelock", `${limits.maxEvents} events and no end`);
          break;
        }
        const next = pick(enabled, this.events);
        if (!next) {
          this.abandoned = true;
          return;
        }
        await this.#event(next, enabled);
        this.#check(afterEvent);
      }
      if (!this.failure) this.#checkEnd();
    } finally {
      schedule(undefined);
    }
  }

  #check(afterEvent: () => void): void {
    try {
      afterEvent();
    } catch (error) {
      this.fail("assertion", error instanceof Error ? error.message : String(error));
    }
  }

  async #event(thread: Thread, enabled: readonly Thread[]): Promise<void> {
    const pending = thread.pending!;
    thread.pending = undefined;
    this.#active = thread;
    this.#footprint = new Footprint();
    this.#released = new Map();
    if (pending.object) this.#footprint.add(pending.object.key, pending.object.writes);
    const event: ExecutedEvent = {
      thread: thread.key,
      label: pending.label,
      footprint: this.#footprint,
      enabledBy: pending.enabledBy,
      enabled: enabled.map(({ key }) => key),
      released: this.#released,
      took: pending.took,
    };
    this.events.push(event);
    if (pending.took) this.#locks.set(pending.took, this.events.length - 1);
    pending.go();
    // Everything that follows without waiting for a scheduling point belongs to the event.
    await nextTurn();
  }

  #checkEnd(): void {
    const stuck = this.threads.filter((thread) => !thread.done);
    if (stuck.length === 0) return;
    const blocked = stuck.filter((thread) => thread.waiting ?? thread.pending);
    const list = stuck.map((thread) => `${thread.name} waits for ${describeWait(thread)}`).join("; ");
    this.fail(blocked.length > 0 ? "deadlock" : "lost-wakeup", list);
  }

  #isEnabled({ pending }: Thread): boolean {
    if (!pending) return false;
    const { mutex } = pending;
    if (!mutex) return true;
    return (
      mutex.lock.owner === undefined || mutex.lock.owner === mutex.task || mutex.task.signal?.aborted === true
    );
  }

  // lockdep's Scheduler.

  arrive(task: Task, lock: Lock, access: Access): Promise<void> {
    const key = this.#object(lock);
    const exclusive = access === EXCLUSIVE;
    const isMutex = lock instanceof Mutex;
    return this.#park(this.#thread(task), {
      label: `${exclusive ? (isMutex ? "lock" : "write") : access === READ_RECURSIVE ? "read_recursive" : "read"}(${key})`,
      object: { key, writes: exclusive },
      ...(isMutex && { mutex: { lock, task }, took: key }),
    });
  }

  resume(waiter: Waiter, resume: () => void): void {
    const thread = this.#thread(waiter.task);
    thread.waiting = undefined;
    // The queue changed hands: whoever looks at this lock does not commute with that.
    const key = this.#object(waiter.lock);
    this.#footprint.add(key, true);
    thread.pending = {
      label: `resume(${key})`,
      enabledBy: this.events.length - 1,
      object: { key, writes: waiter.access === EXCLUSIVE },
      go: resume,
    };
  }

  queued(waiter: Waiter): void {
    this.#thread(waiter.task).waiting = waiter;
    this.#footprint.add(this.#object(waiter.lock), true);
  }

  trying(task: Task, lock: Lock, access: Access): void {
    const key = this.#object(lock);
    this.#footprint.add(key, access === EXCLUSIVE);
    if (!(lock instanceof Mutex) || lock.owner !== undefined) return;
    // Let go and taken again in one event: nobody could have had it in between.
    this.#locks.set(key, this.#released.get(key) ?? this.events.length - 1);
  }

  releasing(task: Task, lock: Lock, access: Access): void {
    const key = this.#object(lock);
    this.#footprint.add(key, access === EXCLUSIVE);
    if (!(lock instanceof Mutex)) return;
    this.#released.set(key, this.#locks.get(key) ?? this.events.length - 1);
    this.#locks.delete(key);
  }

  preempt(task: Task): Promise<void> {
    return this.#park(this.#thread(task), { label: "preempt" });
  }

  read(cell: Shared<unknown>): void {
    if (!this.#settingUp) this.#footprint.add(this.#object(cell), false);
  }

  written(cell: Shared<unknown>): void {
    if (!this.#settingUp) this.#footprint.add(this.#object(cell), true);
  }

  // Scheduling points of the explored program's own.

  /** The task that runs. Since only one does, it is whoever called. */
  step(label = "step"): Promise<void> {
    return this.#park(this.#current(), { label });
  }

  access(cell: Shared<unknown>, writes: boolean): Promise<void> {
    const key = this.#object(cell);
    return this.#park(this.#current(), {
      label: `${writes ? "set" : "get"}(${key})`,
      object: { key, writes },
    });
  }

  #current(): Thread {
    if (!this.#active) throw new Error("a scheduling point outside of any task");
    return this.#active;
  }

  #park(thread: Thread, pending: Omit<Pending, "go" | "enabledBy">): Promise<void> {
    if (thread.pending) {
      throw new Error(`${thread.name} waits for ${thread.pending.label} and ${pending.label} at once`);
    }
    return new Promise((resolve) => {
      thread.pending = { ...pending, enabledBy: -1, go: resolve };
    });
  }

  #thread(task: Task): Thread {
    const known = this.#byTask.get(task);
    if (known) return known;
    const parent = this.#settingUp ? undefined : this.#active;
    const key = parent ? `${parent.key}.${parent.children++}` : `${this.threads.length}`;
    const thread: Thread = {
      key,
      name: task.name,
      pending: undefined,
      waiting: undefined,
      // Tasks that code makes for itself end with the task that made them.
      done: parent !== undefined,
      children: 0,
    };
    this.#byTask.set(task, thread);
    this.threads.push(thread);
    return thread;
  }

  /**
   * A name that is the same in every execution, for what was made before the tasks began. What is made later is
   * made in an order that depends on the schedule, so all of a class share one name: that only adds conflicts.
   */
  #object(object: Lock | Shared<unknown>): string {
    const isLock = "className" in object;
    const name = isLock ? object.className : object.name;
    const [from, to] = isLock ? this.#setupLocks : this.#setupCells;
    return object.id > from && object.id < to ? `${name}#${object.id - from}` : `${name}*`;
  }
}

function describeWait({ waiting, pending }: Thread): string {
  if (waiting) {
    const holders = waiting.lock.holders().map(({ name }) => name);
    return `${waiting.lock.className}, held by ${holders.join(", ") || "nobody"}`;
  }
  if (pending?.mutex)
    return `${pending.mutex.lock.className}, held by ${pending.mutex.lock.owner?.name ?? "nobody"}`;
  return "something that nobody does";
}
