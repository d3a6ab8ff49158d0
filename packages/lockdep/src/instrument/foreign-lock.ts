import { EXCLUSIVE, READ, type Access } from "../access.js";
import { context } from "../context.js";
import { HoldRecord } from "../hold.js";
import { Lock, type Wait } from "../lock.js";
import { observer } from "../observer.js";
import { Task } from "../task.js";
import { Waiter } from "../wait-queue.js";

/** How a lock is asked for. */
export interface Asking {
  readonly shared?: boolean;
  /** It fails at once instead of waiting. */
  readonly trylock?: boolean;
  /** What ends the wait without the lock. */
  readonly bounded?: "signal" | "time limit" | undefined;
}

class ForeignWaiter extends Waiter {
  constructor(
    task: Task,
    lock: Lock,
    access: Access,
    private readonly limit: Asking["bounded"],
  ) {
    super(task, lock, access, 0, undefined);
    // A wait that the validator breaks rejects this; who does not race against it does not care.
    this.promise.catch(() => undefined);
  }

  override get bound(): Asking["bounded"] {
    return this.limit;
  }
}

/** A lock of another library as the validator sees it: it is told what that library does, and decides nothing. */
export class ForeignLock extends Lock {
  readonly #holds: HoldRecord[] = [];
  readonly #waiters = new Set<Waiter>();

  /** Nobody has it or wants it. */
  get idle(): boolean {
    return this.#holds.length === 0 && this.#waiters.size === 0;
  }

  /** `task` asks for the lock. @throws LockdepError, if the validator throws and sees a problem */
  ask(task: Task, how: Asking = {}): Asked {
    const access = how.shared ? READ : EXCLUSIVE;
    observer?.acquire(task, this, access, 0, how.trylock === true);
    let waiter: Waiter | undefined;
    const free = this.#holds.every((hold) => hold.access === READ && access === READ);
    if (!free && how.trylock !== true) {
      waiter = new ForeignWaiter(task, this, access, how.bounded);
      this.#waiters.add(waiter);
      observer?.contended(waiter);
    }
    return new Asked(this, task, access, how.trylock === true, waiter);
  }

  /** @internal */
  granted(asked: Asked): HoldRecord {
    const hold = new HoldRecord(this);
    hold.task = asked.task;
    hold.mode = asked.access === READ ? "read" : "exclusive";
    hold.trylock = asked.trylock;
    if (asked.waiter) this.#waiters.delete(asked.waiter);
    this.#holds.push(hold);
    asked.task.push(hold);
    return hold;
  }

  /** @internal */
  override release(hold: HoldRecord): void {
    const at = this.#holds.indexOf(hold);
    if (at < 0) return;
    this.#holds.splice(at, 1);
    hold.task.pop(hold);
  }

  override holders(): readonly Task[] {
    return this.#holds.map((hold) => hold.task);
  }

  override waiters(): readonly Wait[] {
    return [...this.#waiters].map(({ task, since, access }) => ({
      task,
      since,
      mode: access === READ ? "read" : "exclusive",
    }));
  }

  /** @internal */
  override abandon(waiter: Waiter): void {
    this.#waiters.delete(waiter);
  }
}

/** One request for a foreign lock, and what became of it. */
export class Asked {
  #hold: HoldRecord | undefined;
  #over = false;

  constructor(
    readonly lock: ForeignLock,
    readonly task: Task,
    readonly access: Access,
    readonly trylock: boolean,
    readonly waiter: Waiter | undefined,
  ) {}

  /** The validator gave up on it to break a hang. */
  get broken(): boolean {
    return this.#over && !this.#hold;
  }

  granted(): void {
    if (!this.#over) this.#hold ??= this.lock.granted(this);
  }

  released(): void {
    if (this.#hold) this.lock.release(this.#hold);
    this.#over = true;
  }

  /** It has failed, or whoever asked does not wait any more. */
  failed(reason: unknown): void {
    if (this.#hold || this.#over) return;
    this.#over = true;
    this.waiter?.fail(reason);
  }

  /** `answer` of the other library, unless the validator breaks the wait for it. */
  async orBroken<T>(answer: Promise<T>): Promise<T> {
    if (!this.waiter) return answer;
    try {
      return await Promise.race([answer, this.waiter.promise as Promise<never>]);
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }
}

/**
 * A callback that another library runs under one lock or several, taken in this order: as a task of its own that the
 * current one awaits.
 * @param enter hands the callback, wrapped, to that library
 */
export async function within<T, A extends unknown[], R>(
  locks: readonly ForeignLock[],
  how: Asking,
  callback: (...args: A) => R | Promise<R>,
  enter: (wrapped: (...args: A) => Promise<R>) => Promise<T>,
): Promise<T> {
  const parent = context.running();
  const task = new Task(parent?.name ?? locks[0]?.className ?? "callback", {
    parent,
    signal: parent?.signal,
  });
  const asked: Asked[] = [];
  // Of several locks the first is asked for, and each further one when the callback shows that all are there.
  if (locks[0]) asked.push(locks[0].ask(task, how));
  const wrapped = async (...args: A): Promise<R> => {
    asked[0]?.granted();
    for (const lock of locks.slice(1)) {
      const next = lock.ask(task, how);
      next.granted();
      asked.push(next);
    }
    try {
      return await context.run(task, () => callback(...args));
    } finally {
      for (const each of asked.reverse()) each.released();
    }
  };
  try {
    const answer = enter(wrapped);
    return await (asked[0] ? asked[0].orBroken(answer) : answer);
  } catch (error) {
    for (const each of asked) each.failed(error);
    throw error;
  }
}
