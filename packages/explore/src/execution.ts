import {
  Mutex,
  RwSemaphore,
  type AcquireOptions,
  type Lock,
  type Shared,
  type Task,
  type Waiter,
} from "@vfiokit/lockdep";
import {
  EXCLUSIVE,
  READ,
  READ_RECURSIVE,
  schedule,
  scheduler,
  unseen,
  type Access,
  type Scheduler,
} from "@vfiokit/lockdep/hooks";
import { Awaits } from "./awaits.js";
import { messageOf } from "./errors.js";
import type { ExecutedEvent } from "./event.js";
import type { Failure, FailureKind } from "./failure.js";
import { Footprint } from "./footprint.js";
import { isPlatformCallback } from "./identity.js";
import { Names } from "./names.js";
import type { Detail, Needs } from "./needs.js";
import { Signals } from "./signals.js";
import { stuckFailure } from "./stuck.js";
import type { Pending, Thread } from "./thread.js";
import { nextTurn } from "./turn.js";
import { CLOCK, type TimerHandle, type VirtualClock } from "./virtual-clock.js";
import type { Inhabitant } from "./virtual-world.js";
import { Watch } from "./watch.js";

/** Picks the thread that goes on. `undefined` ends the execution: it is of no further interest. */
export type Picker = (enabled: readonly Thread[], events: readonly ExecutedEvent[]) => Thread | undefined;

export interface RunOptions {
  /** More events are a livelock. */
  readonly maxEvents: number;
  /** Executions end here, without a verdict. */
  readonly maxDepth: number;
  /** Goes on after a failure: the rest may race too. */
  readonly keepGoing: boolean;
  /** Undefined: nothing is to be checked after an event. */
  readonly afterEvent: (() => void) | undefined;
}

/**
 * What tasks may share besides what the explorer sees: `conflict`, anything, unless they say less; `none`, nothing,
 * which is a promise.
 */
export type PlainFields = "conflict" | "none";

/**
 * What an `await` of a promise is that is none of the explorer's: `points`, a place where others run; `fused`, nothing,
 * as long as the promise settles before the task's next point, which is a promise too.
 */
export type AwaitsAre = "points" | "fused";

/** The label of what follows an `await`. It uses the plain fields that the piece before was said to use. */
const AWAIT = "await";

/** A bug in one run repeats itself in its aftermath. */
const MAX_FAILURES = 16;

/**
 * One run of the program under one schedule. Everything that a task does between two places where it could be
 * preempted is one event; the picker decides whose event is next. Locks are the program's own: the scheduler only
 * decides when their promises resolve.
 */
export class Execution implements Scheduler {
  readonly events: ExecutedEvent[] = [];
  readonly threads: Thread[] = [];
  readonly failures: Failure[] = [];
  /** At the end, what tasks would do if they were not blocked for ever. */
  readonly blocked: ExecutedEvent[] = [];
  /** What the explorer cannot see, and so cannot try in other orders. */
  readonly unknown = new Set<string>();
  /** What a verdict rests on, besides that the executions are all that differ. */
  readonly restsOn = new Set<string>();
  /** What of the world was virtual: random numbers, time, timers. */
  readonly virtual = new Set<string>();
  /** The tasks have ended, and the final checks run. */
  isOver = false;
  /** Objects of the program's whose use is seen. */
  readonly watch = new Watch({
    thread: () => (this.#checking ? undefined : (this.#caller() ?? this.#active)),
    touch: (cell, writes) => this.#footprint.add(cell, writes),
    touchEverything: () => this.#footprint.addEverything(),
    unknown: (what) => void this.unknown.add(what),
    restsOn: (what) => void this.restsOn.add(what),
  });
  /** The picker ended it, or the bound on its depth. */
  abandoned: "pruned" | "depth" | undefined;
  /** It met something that needs another way of running it, which is known now: run it again. */
  again = false;

  /** Whose continuations are held back: none any more when the run is over. */
  readonly #threads = new Set<Thread>();
  readonly #byTask = new Map<Task, Thread>();
  readonly #names = new Names();
  readonly #signals: Signals;
  /** Mutexes of detail 0 that are taken: since which event. */
  readonly #taken = new Map<string, number>();
  #active: Thread | undefined;
  #footprint = new Footprint();
  #released = new Map<string, number[]>();
  #stopped: ExecutedEvent[] = [];
  /** The event has made tasks that can begin now. */
  #begets = false;
  #settingUp = true;
  readonly #noTask: Thread = {
    key: "",
    name: "",
    task: undefined,
    parent: undefined,
    mustEnd: false,
    ended: true,
    pending: undefined,
    waiting: undefined,
    gaps: [],
    fields: undefined,
    adrift: false,
    children: 0,
    events: 0,
    lastEvent: -1,
  };
  /** An invariant is being checked. */
  #checking = false;
  #adrift = 0;
  readonly #awaits: Awaits<Thread> | undefined;
  /** A task has begun something that the world outside ends. */
  #outside = false;
  /** Who has awaited what no scheduling point settled, and since which event. */
  readonly #drifted = new Map<Thread, string>();
  #now = 0;

  constructor(
    private readonly needs: Needs,
    private readonly plainFields: PlainFields,
    awaits: AwaitsAre,
  ) {
    this.#signals = new Signals(needs, {
      touch: (name, writes) => this.#footprint.add(name, writes),
      touchEverything: () => this.#footprint.addEverything(),
      needQueue: (lock) => this.#need(lock, 2),
      isSettingUp: () => this.#settingUp,
    });
    const identity = this.#sharesAnything || awaits === "points" ? needs.tryIdentify() : undefined;
    if (!identity) return;
    this.#awaits = new Awaits(identity, {
      explores: (thread) => this.#threads.has(thread),
      mayBeMet: (thread) => this.#mayBeMet(thread),
      outside: (thread) => {
        this.#outside = true;
        this.#drifts(thread); // what it has begun may be over in time, by chance
      },
      ready: (thread, go) => this.#ready(thread, go),
      escaped: (thread, place) =>
        this.unknown.add(`${thread.name} awaits what is no promise, at ${place}: use x.step()`),
    });
  }

  /**
   * Somebody could tell whether the thread has gone on after an `await`. Not if it has used nothing in its present piece
   * but a mutex that is its own now, and has let nobody begin: then it makes no difference whether what follows comes at
   * once. (After a timer it does: the next one may be due.)
   */
  #mayBeMet(thread: Thread): boolean {
    if (this.#sharesAnything || this.#outside || thread !== this.#active || this.#begets) return true;
    if (this.watch.mayUseUnseen(thread)) return true;
    const last = this.events.at(-1);
    const took = last?.timer ? undefined : last?.took;
    return [...this.#footprint.touched.keys()].some((object) => object !== took);
  }

  /** Tasks may share what nobody sees. Who shares a promise has broken the promise to share nothing. */
  get #sharesAnything(): boolean {
    return this.plainFields === "conflict" || this.needs.gaps;
  }

  /** Runs what is the program's, and no task: its set-up, its checks. */
  inside<T>(run: () => T): T {
    return this.needs.identity ? this.needs.identity.run(this.#noTask, run) : run();
  }

  /** Who the calling code belongs to, if it is a task's. */
  #caller(): Thread | undefined {
    const thread = this.needs.identity?.getStore();
    return thread === this.#noTask ? undefined : thread;
  }

  /** It is the program that calls, and no other code of the process. */
  #isCalling(): boolean {
    if (!this.#settingUp && scheduler !== this && !this.isOver) return false; // unseen: the validator's
    const { identity } = this.needs;
    if (identity) {
      const thread = identity.getStore();
      return thread !== undefined && (thread === this.#noTask || this.#threads.has(thread));
    }
    if (!this.#settingUp && isPlatformCallback()) return false;
    // From now on, calls are told apart.
    if (this.needs.tryIdentify()) this.again = true;
    return true;
  }

  /** Declares a task; it begins when the picker lets it. */
  start(task: Task, run: () => Promise<void>): Thread {
    const thread = this.#thread(task);
    thread.mustEnd = true;
    this.#begets = true;
    if (task.signal) this.#signals.watch(task.signal, `abort(${thread.key})`);
    const go = (): void =>
      this.#then(
        run(),
        () => this.#ended(thread),
        (error: unknown) => {
          this.#ended(thread);
          // A task that was cancelled ends with the reason, unless it knows better.
          const cancelled = task.signal?.aborted && task.signal.reason === error;
          if (!cancelled) this.fail("assertion", `${thread.name}: ${messageOf(error)}`);
        },
      );
    thread.pending = {
      label: "begin",
      enabledBy: [this.events.length - 1],
      go: () => (this.needs.identity ? this.needs.identity.run(thread, go) : go()),
    };
    return thread;
  }

  endSetUp(): void {
    this.#settingUp = false;
    this.#names.endSetUp();
    this.watch.endSetUp();
  }

  fail(kind: FailureKind, message: string): void {
    if (this.failures.length < MAX_FAILURES) this.failures.push({ kind, message });
  }

  /** Runs to the end, or to the first failure. */
  async run(pick: Picker, options: RunOptions): Promise<void> {
    schedule(this);
    this.#awaits?.begin();
    const stopObserving = this.#signals.observe();
    try {
      await nextTurn();
      while (!this.again && (options.keepGoing || this.failures.length === 0)) {
        const enabled = this.#enabled();
        if (enabled.length === 0) {
          this.#end();
          break;
        }
        if (this.events.length >= options.maxEvents) {
          this.failures.push({ kind: "livelock", message: `${options.maxEvents} events and no end` });
          this.#cut();
          break;
        }
        if (this.events.length >= options.maxDepth) {
          this.abandoned = "depth";
          this.#cut();
          break;
        }
        const next = pick(enabled, this.events);
        if (!next) {
          this.abandoned = "pruned";
          this.#noteBlocked(enabled);
          break;
        }
        await this.#event(next, options.afterEvent);
      }
    } finally {
      this.#awaits?.end();
      if (this.#outside || !this.#awaits)
        for (const [{ name }, label] of this.#drifted)
          this.unknown.add(`${name} awaits something that is not explored, after ${label}`);
      this.#threads.clear();
      stopObserving();
      schedule(undefined);
      this.watch.end();
    }
  }

  #end(): void {
    let cannotTell = false;
    for (const { adrift, gaps, pending, waiting } of this.threads) {
      if (adrift && (this.#outside || !this.#awaits)) cannotTell = true; // unknown as well
      if (gaps.length > 0 && (pending ?? waiting)) cannotTell = true; // unknown already
    }
    const stuck = cannotTell ? undefined : unseen(() => stuckFailure(this.threads));
    if (stuck) this.failures.push(stuck);
    this.#noteBlocked([]);
  }

  /**
   * Who cannot go on could have gone on before, if the event that keeps it from that came later: the one who took its
   * lock, or who set a timer that is due first. Such a race is looked at wherever an execution ends.
   *
   * If it is cut short, everybody who could go on sleeps, and what they would do is explored elsewhere; from there on.
   * But nobody else looks at what those who cannot go on would have done *before*: in an execution that goes on, they
   * come after the sleepers, perhaps ordered after them (a mutex that is held by one who joins a sleeper).
   * What waits for a task to end (join) needs no such look. No earlier event keeps it from going on; what keeps the
   * task itself from ending is found with that one.
   */
  #noteBlocked(enabled: readonly Thread[]): void {
    for (const thread of this.threads) {
      const { pending } = thread;
      if (!pending?.arrival && pending?.deadline === undefined) continue;
      if (!enabled.includes(thread)) this.blocked.push(this.#blockedEvent(thread, pending));
    }
  }

  /** A bound ends the execution. What anybody would have done next is not known, so it races with everything. */
  #cut(): void {
    for (const thread of this.threads) {
      if (!thread.pending) continue;
      const event = this.#blockedEvent(thread, thread.pending);
      const footprint = Footprint.of(event.footprint.toData());
      footprint.addEverything();
      this.blocked.push({ ...event, footprint });
    }
  }

  /** The lock's queue is to be explored in more detail from now on, as it turns out. */
  #need(name: string, detail: Detail, least: Detail = 0): void {
    if (!this.#settingUp && detail > least && !this.needs.lock(name, detail)) this.again = true;
  }

  #detail(lock: Lock, name: string): Detail {
    return Math.max(lock.detail, this.needs.locks.get(name) ?? 0) as Detail;
  }

  /**
   * What an invariant looks at can change only by an event that writes some of it. Those events do not commute with
   * each other, since it must hold between them too.
   */
  #check(afterEvent: (() => void) | undefined): void {
    if (!afterEvent) return;
    const event = this.#footprint;
    this.#footprint = new Footprint();
    if (this.#sharesAnything) this.#footprint.addFields(undefined);
    this.#checking = true;
    try {
      this.inside(afterEvent);
    } catch (error) {
      this.fail("assertion", messageOf(error));
    }
    this.#checking = false;
    if (event.conflictsWith(this.#footprint)) event.merge(this.#footprint);
    this.#footprint = event;
  }

  async #event(thread: Thread, afterEvent: (() => void) | undefined): Promise<void> {
    const pending = thread.pending!;
    thread.pending = undefined;
    this.#active = thread;
    this.#footprint = new Footprint();
    this.#released = new Map();
    this.#stopped = [];
    this.#begets = false;
    const event = this.#eventOf(thread, pending);
    this.events.push(event);
    if (pending.deadline !== undefined) {
      this.#now = pending.deadline;
      this.#release(CLOCK, pending.setBy!);
    } else if (event.took !== undefined) this.#taken.set(event.took, this.events.length - 1);
    if (pending.label !== AWAIT) thread.fields = pending.fields;
    // Arrivals only queue, or take the lock: `arrived` tells whether the task goes on.
    if (!pending.arrival) this.#goesOn(thread.fields);
    pending.go();
    // Everything that follows without waiting for a scheduling point belongs to the event.
    await nextTurn();
    this.watch.settle(thread);
    this.#mayDrift(thread);
    this.#check(afterEvent);
    this.#widen(thread, pending);
    thread.events++;
  }

  /** What a thread would do next, that will not. */
  #blockedEvent(thread: Thread, pending: Pending): ExecutedEvent {
    const before = this.#footprint;
    this.#footprint = new Footprint();
    const event = this.#eventOf(thread, pending);
    this.#widen(thread, pending);
    this.#footprint = before;
    return { ...event, took: pending.arrival?.key ?? CLOCK, released: new Map(), stopped: [] };
  }

  #goesOn(fields: readonly string[] | undefined): void {
    if (fields ?? this.#sharesAnything) this.#footprint.addFields(fields);
  }

  #release(what: string, since: number): void {
    this.#released.set(what, [...(this.#released.get(what) ?? []), since]);
  }

  #widen(thread: Thread, { label, touches }: Pending): void {
    this.#footprint.seal();
    const event = `${thread.key} ${thread.events} ${label}`;
    this.needs.footprints.widen(event, this.#footprint, touches?.key);
  }

  #eventOf(thread: Thread, { label, touches, arrival, joins, deadline, enabledBy }: Pending): ExecutedEvent {
    if (touches) this.#footprint.add(touches.key, touches.writes);
    const isFree = arrival?.detail === 0 && !isTaken(arrival.lock);
    return {
      thread: thread.key,
      label,
      footprint: this.#footprint,
      enabledBy: joins ? [...enabledBy, joins.lastEvent] : enabledBy,
      released: this.#released,
      took: deadline !== undefined ? CLOCK : isFree ? arrival.key : undefined,
      timer: deadline !== undefined,
      stopped: this.#stopped,
    };
  }

  /** A thread may await what is no scheduling point. Who lets it go on does not commute with that. */
  #mayDrift(thread: Thread): void {
    const { ended, mustEnd, pending, waiting, adrift, gaps } = thread;
    if (ended || !mustEnd || adrift || (pending ?? waiting) || gaps.length > 0) return;
    thread.adrift = true;
    this.#drifts(thread);
    if (!this.#sharesAnything) {
      this.needs.gaps = true;
      this.again = true;
    }
    this.#adrift++;
    this.#footprint.add(`await(${thread.key})`, true);
  }

  #drifts(thread: Thread): void {
    if (!this.#drifted.has(thread)) this.#drifted.set(thread, this.events.at(-1)!.label);
  }

  #landed(thread: Thread): void {
    if (!thread.adrift) return;
    thread.adrift = false;
    this.#adrift--;
    this.#footprint.add(`await(${thread.key})`, true);
  }

  #ended(thread: Thread): void {
    this.#landed(thread);
    thread.ended = true;
    thread.lastEvent = this.events.length - 1;
  }

  mine<P extends Promise<unknown>>(promise: P): P {
    return this.#awaits?.mine(promise) ?? promise;
  }

  #then(promise: Promise<void>, ended: () => void, failed: (error: unknown) => void): void {
    if (this.#awaits) this.#awaits.then(promise, ended, failed);
    else void promise.then(ended, failed);
  }

  /** A promise that the thread awaits has settled. */
  #ready(thread: Thread, go: () => void): void {
    if (!this.#threads.has(thread)) return; // of a run that is over
    if (!this.#mayBeMet(thread)) {
      go();
      return;
    }
    this.#landed(thread);
    thread.gaps.push({ enabledBy: this.events.length - 1, go });
  }

  /** Who has nothing else to do goes on after its first `await` that is over. */
  #bridge(thread: Thread): void {
    if (thread.gaps.length === 0) return;
    if (thread.pending ?? thread.waiting) {
      if (thread.pending?.label !== AWAIT)
        this.unknown.add(`${thread.name} does two things at once: make it two tasks`);
      return;
    }
    // eslint-disable-next-line @typescript-eslint/unbound-method -- a function of the gap's own
    const { enabledBy, go } = thread.gaps.shift()!;
    thread.pending = { label: AWAIT, enabledBy: [enabledBy], go };
  }

  #enabled(): Thread[] {
    for (const thread of this.threads) this.#bridge(thread);
    const deadlines = this.threads.flatMap(({ pending }) => pending?.deadline ?? []);
    const first = Math.min(...deadlines);
    return this.threads.filter(({ pending }) => {
      if (!pending) return false;
      if (pending.joins) return pending.joins.ended;
      if (pending.deadline !== undefined) return pending.deadline === first;
      if (pending.arrival?.detail !== 0) return true;
      const { lock, task } = pending.arrival;
      return !isTaken(lock) || holds(task, lock); // who has it already is refused
    });
  }

  // lockdep's Scheduler.

  arrive(task: Task, lock: Lock, access: Access, options?: AcquireOptions, verb?: string): Promise<void> {
    const key = this.#names.of(lock);
    const what = verb ?? VERBS.get(access) ?? (lock instanceof RwSemaphore ? "write" : "lock");
    if (lock.detail < 2) {
      for (const each of [task.signal, options?.signal]) if (each) this.#signals.mayCancel(each, key);
      if (options?.timeoutMs !== undefined) this.#need(key, 2); // the time runs in the queue
    }
    const detail = this.#detail(lock, key);
    return this.#park(this.#thread(task), {
      label: `${what}(${key})`,
      touches: { key, writes: access === EXCLUSIVE || detail === 3 },
      arrival: { task, lock, key, detail },
    });
  }

  arrived(task: Task, lock: Lock, failed: boolean): void | Promise<void> {
    const thread = this.#thread(task);
    if (thread.waiting ?? thread.pending) return;
    const key = this.#names.of(lock);
    const detail = this.#detail(lock, key);
    // What was thrown is caught at once. A promise's refusal tells what the lock was like, and that can have changed
    // before the task goes on.
    const least = holds(task, lock) ? 2 : 1;
    if (failed || detail < least) this.#goesOn(undefined);
    else return this.#park(thread, { label: `resume(${key})` });
  }

  resume(waiter: Waiter, resume: () => void): void {
    const thread = this.#thread(waiter.task);
    thread.waiting = undefined;
    // The queue changed hands: whoever looks at this lock does not commute with that.
    const key = this.#names.of(waiter.lock);
    this.#footprint.add(key, true);
    thread.pending = { label: `resume(${key})`, enabledBy: [this.events.length - 1], go: resume };
  }

  queued(waiter: Waiter): void {
    this.#thread(waiter.task).waiting = waiter;
    this.#footprint.add(this.#names.of(waiter.lock), true);
  }

  trying(_task: Task, lock: Lock, access: Access): void {
    const key = this.#names.of(lock);
    this.#need(key, 2, lock.detail);
    const exclusive = access === EXCLUSIVE || this.#detail(lock, key) === 3;
    this.#footprint.add(key, exclusive && !isTaken(lock));
  }

  releasing(_task: Task, lock: Lock, access: Access): void {
    const key = this.#names.of(lock);
    const detail = this.#detail(lock, key);
    this.#footprint.add(key, access === EXCLUSIVE || detail === 3);
    if (detail > 0) return;
    this.#release(key, this.#taken.get(key) ?? this.events.length - 1);
    this.#taken.delete(key);
  }

  touching(lock: Lock, writes: boolean, about?: Task): void {
    if (about && about === this.#active?.task) return; // nobody else changes that while it runs
    const key = this.#names.of(lock);
    this.#need(key, writes ? 2 : 3, lock.detail);
    this.#footprint.add(key, writes);
  }

  lookingAtSignals(task: Task, signal: AbortSignal | undefined): void {
    for (const each of [task.signal, signal]) if (each) this.#signals.lookAt(each);
  }

  preempt(task: Task): Promise<void> {
    return this.#park(this.#thread(task), { label: "preempt" });
  }

  read(cell: Shared<unknown>): void {
    if (!this.#settingUp) this.#footprint.add(this.#names.of(cell), false);
  }

  written(cell: Shared<unknown>): void {
    if (!this.#settingUp) this.#footprint.add(this.#names.of(cell), true);
  }

  // Scheduling points of the explored program's own.

  /** @param fields the plain fields that are used until the next point. Undefined: any */
  step(label: string, fields: readonly string[] | undefined): Promise<void> {
    return this.#park(this.#current(), { label, ...(fields && { fields }) });
  }

  access(cell: Shared<unknown>, writes: boolean, fields: readonly string[] | undefined): Promise<void> {
    const key = this.#names.of(cell);
    return this.#park(this.#current(), {
      label: `${writes ? "set" : "get"}(${key})`,
      touches: { key, writes },
      ...(fields && { fields }),
    });
  }

  /** Goes on when `thread` has ended. */
  join(thread: Thread): Promise<void> {
    return this.#park(this.#current(), { label: `join(${thread.name})`, joins: thread });
  }

  readonly clock: VirtualClock = {
    now: () => {
      this.#footprint.add(CLOCK, false);
      return this.#now;
    },
    sleep: (milliseconds) => {
      this.#footprint.add(CLOCK, true);
      return this.#park(this.#current(), {
        label: `sleep(${milliseconds})`,
        touches: { key: CLOCK, writes: true },
        deadline: this.#now + Math.max(0, milliseconds),
        setBy: this.events.length - 1,
      });
    },
    setTimeout: (callback, milliseconds) => {
      this.#footprint.add(CLOCK, true);
      const deadline = this.#now + Math.max(0, milliseconds);
      const thread = this.#newThread(`timer(${milliseconds})`, undefined);
      thread.pending = {
        label: "fire",
        enabledBy: [this.events.length - 1],
        touches: { key: CLOCK, writes: true },
        deadline,
        setBy: this.events.length - 1,
        go: () => {
          thread.ended = true;
          if (this.needs.identity) this.needs.identity.run(thread, callback);
          else callback();
        },
      };
      const timer: TimerHandle = { deadline };
      this.#timers.set(timer, thread);
      return timer;
    },
    clearTimeout: (timer) => {
      const thread = timer && this.#timers.get(timer);
      if (!thread?.pending) return;
      this.#stopped.push(this.#blockedEvent(thread, thread.pending));
      this.#footprint.add(CLOCK, true);
      this.#release(CLOCK, thread.pending.setBy!);
      thread.pending = undefined;
    },
  };
  readonly #timers = new Map<TimerHandle, Thread>();

  /** To the world around it. */
  readonly inhabitant: Inhabitant = {
    calls: () => this.#isCalling(),
    caller: () => (this.needs.identity || this.#settingUp ? this.#caller() : this.#active)?.key ?? "",
    rely: (what) => void this.virtual.add(what),
    unknown: (what) => void this.unknown.add(what),
    clock: this.clock,
  };

  /** Who calls: the task that runs, since only one does, unless others await promises that it may resolve. */
  #current(): Thread {
    if (!this.#active) throw new Error("a scheduling point outside of any task");
    const { identity } = this.needs;
    if (identity) return this.#caller() ?? this.#active;
    if (this.#adrift > 0) {
      this.needs.identify();
      this.again = true;
    }
    return this.#active;
  }

  #park(thread: Thread, pending: Omit<Pending, "go" | "enabledBy">): Promise<void> {
    if (thread.pending?.label === AWAIT) {
      // It goes on in two places: the one that was ready first is next.
      // eslint-disable-next-line @typescript-eslint/unbound-method -- a function of the gap's own
      const { go, enabledBy } = thread.pending;
      thread.gaps.unshift({ go: () => go(), enabledBy: enabledBy[0]! });
      thread.pending = undefined;
    }
    if (thread.pending ?? thread.waiting) {
      if (this.again) return new Promise(() => undefined);
      const first = thread.pending?.label ?? "a lock";
      throw new Error(`${thread.name} waits for ${first} and ${pending.label} at once: make it two tasks`);
    }
    this.#landed(thread);
    return this.mine(
      new Promise((resolve) => {
        thread.pending = { ...pending, enabledBy: [this.events.length - 1], go: resolve };
      }),
    );
  }

  #thread(task: Task): Thread {
    const known = this.#byTask.get(task);
    if (known) return known;
    const thread = this.#newThread(task.name, task);
    this.#byTask.set(task, thread);
    return thread;
  }

  #newThread(name: string, task: Task | undefined): Thread {
    const parent = this.#settingUp ? undefined : (this.#caller() ?? this.#active);
    const thread: Thread = {
      parent,
      key: parent ? `${parent.key}.${parent.children++}` : `${this.threads.length}`,
      name,
      task,
      mustEnd: false,
      ended: false,
      pending: undefined,
      waiting: undefined,
      gaps: [],
      fields: undefined,
      adrift: false,
      children: 0,
      events: 0,
      lastEvent: -1,
    };
    this.threads.push(thread);
    this.#threads.add(thread);
    return thread;
  }
}

const VERBS = new Map<Access, string>([
  [READ, "read"],
  [READ_RECURSIVE, "read_recursive"],
]);

function holds(task: Task, lock: Lock): boolean {
  return task.holds.some((hold) => hold.lock === lock);
}

function isTaken(lock: Lock): boolean {
  return lock instanceof Mutex && unseen(() => lock.owner) !== undefined;
}
