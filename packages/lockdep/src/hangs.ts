import { lockUse, place, stuck, taskName } from "./describe.js";
import type { LockdepError } from "./errors.js";
import type { Lock } from "./lock.js";
import type { ClassNode } from "./lock-class.js";
import { looselyHolds } from "./orders.js";
import type { StuckTask } from "./problem.js";
import type { Reporter } from "./reporter.js";
import { unseen } from "./scheduler.js";
import { captureStack } from "./stack.js";
import type { Task } from "./task.js";
import { beginWait, endWait, findHang } from "./wait-graph.js";
import { realTime, type Waiter } from "./wait-queue.js";

/** How long a hang may last that a signal could end, where no `waitTimeout` is set: milliseconds. */
const BOUND_HAS_HAD_ITS_CHANCE = 10_000;
/** The same, where others may release the lock: a releaser was handed out. */
const RELEASER_HAS_HAD_ITS_CHANCE = 1000;

/** The waits that there are, and those among them that cannot end, or take long. */
export class Hangs {
  /** Waits that hang, unless their bound ends them. */
  readonly #deferred = new Set<Waiter>();

  /**
   * @param options waits longer than `waitTimeout` milliseconds are reported
   * @param nodeOf the class of a lock that is waited for
   */
  constructor(
    private readonly options: { readonly waitTimeout: number | undefined },
    private readonly nodeOf: (lock: Lock, subclass: number) => ClassNode | undefined,
    private readonly reporter: Reporter,
  ) {}

  begin(waiter: Waiter): void {
    waiter.site = captureStack(waiter.lock.entryPoints);
    beginWait(waiter);
    const hang = findHang(waiter);
    if (!hang) {
      const { waitTimeout } = this.options;
      if (waitTimeout !== undefined)
        waiter.timer = unseen(() => setTimeout(() => this.#longWait(waiter), waitTimeout));
    } else if (hang.some(isBounded)) {
      this.#defer(waiter, BOUND_HAS_HAD_ITS_CHANCE);
    } else if (hang.length === 1 && looselyHolds(waiter.task, waiter.lock)) {
      this.#defer(waiter, RELEASER_HAS_HAD_ITS_CHANCE);
    } else {
      const error = this.#report(hang);
      if (error) waiter.fail(error); // breaks the hang
    }
  }

  /** The wait has ended with the lock. */
  granted(waiter: Waiter): void {
    this.#forget(waiter);
    endWait(waiter);
  }

  /** The wait has ended without the lock. */
  abandoned(waiter: Waiter): void {
    this.#forget(waiter);
    // Whoever waits with a bound and is in a hang now was so until the bound ended it.
    const hang = isBounded(waiter) && waiter.task.waiting === waiter ? findHang(waiter) : undefined;
    if (hang) this.#report(hang, waiter.task);
    endWait(waiter);
  }

  /** No event can end a wait any more. */
  finish(): void {
    for (const waiter of this.#deferred) this.#stillHangs(waiter);
  }

  /** Reports a hang that something can still end, if nothing has after some time. */
  #defer(waiter: Waiter, chance: number): void {
    this.#deferred.add(waiter);
    waiter.timer = unseen(() =>
      setTimeout(() => this.#stillHangs(waiter), this.options.waitTimeout ?? chance),
    );
    unref(waiter.timer);
  }

  #forget(waiter: Waiter): void {
    clearTimeout(waiter.timer);
    this.#deferred.delete(waiter);
  }

  /** The bound of a wait in a hang has had its chance. */
  #stillHangs(waiter: Waiter): void {
    const hang = findHang(waiter);
    // A time limit is sure to end it, and to report it then.
    const error = hang?.every(({ bound }) => bound !== "time limit") && this.#report(hang);
    if (error) waiter.fail(error);
  }

  #report(hang: Waiter[], endedBy?: Task): LockdepError | undefined {
    const key = hang.map((at) => `${at.task.id}:${at.lock.id}`).sort();
    return this.reporter.report(`hang ${key.join(" ")}`, () => ({
      kind: "hang",
      ...(endedBy ? { endedBy: taskName(endedBy) } : {}),
      tasks: hang.map((at) => this.#stuck(at)),
    }));
  }

  #longWait(waiter: Waiter): void {
    const error = this.reporter.report(`long-wait ${waiter.task.name} ${waiter.lock.className}`, () => {
      const tasks = [this.#stuck(waiter)];
      for (const holder of unseen(() => waiter.lock.holders()))
        if (holder.waiting) tasks.push(this.#stuck(holder.waiting));
      return { kind: "long-wait", tasks };
    });
    if (error) waiter.fail(error);
  }

  #stuck(waiter: Waiter): StuckTask {
    const { task, lock, access } = waiter;
    const node = this.nodeOf(lock, waiter.subclass)!;
    return stuck(
      task,
      lockUse(lock, node, access, false, place(waiter.site)),
      realTime() - waiter.since,
      this.reporter.held(task),
      unseen(() => [...lock.holders()]),
      waiter.bound,
    );
  }
}

const isBounded = (waiter: Waiter): boolean => waiter.bound !== undefined;

/** A timer that only reports does not keep Node's process alive; elsewhere timers are numbers. */
function unref(timer: unknown): void {
  (timer as { unref?: () => void }).unref?.();
}
