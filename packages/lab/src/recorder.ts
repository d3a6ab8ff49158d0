import { Mutex, type HoldMode, type Lock, type Task } from "@vfiokit/lockdep";
import {
  EXCLUSIVE,
  observe,
  observer,
  schedule,
  scheduler,
  unseen,
  type LockObserver,
  type Scheduler,
} from "@vfiokit/lockdep/hooks";
import type { Bench } from "./bench.js";

/** What a line of a counterexample does to a lock. */
export interface LockEvent {
  readonly what: "takes" | "waits" | "releases";
  readonly lock: string;
  readonly mode: HoldMode;
}

/** Notes who takes which lock, and who waits for whom. It stands between the locks and those who watch them. */
export class Recorder {
  readonly #names = new Map<Lock, string>();
  /** Tasks on their way to a mutex: the explorer has them wait outside its queue. */
  readonly #arrived = new Map<Task, { readonly lock: Lock; waits: boolean }>();
  #scheduled = false;

  constructor(private readonly bench: Bench) {
    for (const { device } of bench.slots) {
      const { name, memoryLock, deviceLock, migration, dma, irqs } = device;
      this.#names.set(device.set.lock, "deviceSet.lock");
      for (const lock of [memoryLock, deviceLock, migration?.stateMutex, dma.mmapLock, irqs.igate])
        if (lock) this.#names.set(lock, `${name}'s ${lock.className}`);
    }
    observe(this.#watch(observer));
  }

  /** To be called when the first task begins: the scheduler is known then. */
  begin(): void {
    if (this.#scheduled || !scheduler) return;
    this.#scheduled = true;
    schedule(this.#follow(scheduler));
  }

  #watch(next: LockObserver | undefined): LockObserver {
    return {
      ...passOn(next),
      contended: (waiter) => {
        const { task, lock, access } = waiter;
        if (!this.#arrived.get(task)?.waits)
          this.#waits(
            task,
            lock,
            access === EXCLUSIVE ? (lock instanceof Mutex ? "exclusive" : "write") : "read",
          );
        next?.contended(waiter);
      },
      acquired: (hold) => {
        const { task, lock, mode, trylock } = hold;
        this.#arrived.delete(task);
        this.#note(task, trylock ? "tries and takes" : "takes", {
          what: "takes",
          lock: this.#nameOf(lock),
          mode,
        });
        for (const [other, arrived] of this.#arrived) {
          if (arrived.lock !== lock || arrived.waits) continue;
          arrived.waits = true;
          this.#waits(other, lock, "exclusive");
        }
        next?.acquired(hold);
      },
      released: (hold, wasLast) => {
        this.#note(hold.task, "releases", {
          what: "releases",
          lock: this.#nameOf(hold.lock),
          mode: hold.mode,
        });
        next?.released(hold, wasLast);
      },
    };
  }

  #follow(next: Scheduler): Scheduler {
    return {
      arrive: (task, lock, ...how) => {
        if (lock instanceof Mutex) {
          const owner = unseen(() => lock.owner);
          const waits = owner !== undefined && owner !== task;
          this.#arrived.set(task, { lock, waits });
          if (waits) this.#waits(task, lock, "exclusive");
        }
        return next.arrive(task, lock, ...how);
      },
      arrived: (...args) => next.arrived(...args),
      resume: (...args) => next.resume(...args),
      queued: (waiter) => next.queued(waiter),
      trying: (task, lock, access) => {
        const owner = lock instanceof Mutex ? unseen(() => lock.owner) : undefined;
        if (owner) this.bench.monitor.note(`tries ${this.#nameOf(lock)}, held by ${owner.name}`, task.name);
        next.trying(task, lock, access);
      },
      releasing: (...args) => next.releasing(...args),
      touching: (...args) => next.touching(...args),
      lookingAtSignals: (...args) => next.lookingAtSignals(...args),
      preempt: (task) => next.preempt(task),
      read: (cell) => next.read(cell),
      written: (cell) => next.written(cell),
      clock: next.clock,
    };
  }

  #waits(task: Task, lock: Lock, mode: HoldMode): void {
    const holders = unseen(() => lock.holders()).map(({ name }) => name);
    const name = this.#nameOf(lock);
    this.bench.monitor.note(`waits for ${name}, held by ${holders.join(", ")}`, task.name, {
      what: "waits",
      lock: name,
      mode,
    });
  }

  #note(task: Task, does: string, event: LockEvent): void {
    const how =
      event.mode === "exclusive" || event.what === "releases"
        ? ""
        : event.mode === "write"
          ? " for writing"
          : " for reading";
    this.bench.monitor.note(`${does} ${event.lock}${how}`, task.name, event);
  }

  #nameOf(lock: Lock): string {
    return this.#names.get(lock) ?? lock.className;
  }
}

/** An observer that tells `next` everything. */
function passOn(next: LockObserver | undefined): LockObserver {
  return {
    acquire: (...args) => next?.acquire(...args),
    contended: (waiter) => next?.contended(waiter),
    abandoned: (waiter) => next?.abandoned(waiter),
    acquired: (hold) => next?.acquired(hold),
    downgraded: (hold) => next?.downgraded(hold),
    releasesPinned: (hold) => next?.releasesPinned(hold),
    contextOpened: (task) => next?.contextOpened(task),
    released: (hold, wasLast) => next?.released(hold, wasLast),
    badUnlock: (task, lock) => next?.badUnlock(task, lock),
    recursion: (...args) => next?.recursion(...args),
    ended: (task) => next?.ended(task),
  };
}
