// Over 300 lines: what the program calls and what the run does, which the parts of an execution share.

import type { Shared, Task } from "@vfiokit/lockdep";
import { schedule, scheduler, unseen } from "@vfiokit/lockdep/hooks";
import type { AwaitsAre, PlainFields } from "./assumptions.js";
import { messageOf } from "./errors.js";
import type { ExecutedEvent } from "./event.js";
import { EventLog } from "./event-log.js";
import { Findings } from "./findings.js";
import { Locks } from "./locks.js";
import { holds, isTaken } from "./mutexes.js";
import type { Needs } from "./needs.js";
import { AWAIT, Pauses } from "./pauses.js";
import { nextAlone, settles } from "./settle.js";
import { stuckFailure } from "./stuck.js";
import type { Thread } from "./thread.js";
import { Threads } from "./threads.js";
import { Timers } from "./timers.js";
import { nextTurn } from "./turn.js";
import type { VirtualClock } from "./virtual-clock.js";
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
 * One run of the program under one schedule. Everything that a task does between two places where it could be
 * preempted is one event; the picker decides whose event is next.
 */
export class Execution {
  readonly findings = new Findings();
  /** Objects of the program's whose use is seen. */
  readonly watch: Watch;
  /** The picker ended it, or the bound on its depth. */
  abandoned: "pruned" | "depth" | undefined;
  /** The tasks have ended, and the final checks run. */
  isOver = false;

  readonly #threads: Threads;
  readonly #log: EventLog;
  readonly #pauses: Pauses;
  readonly #timers: Timers;
  readonly #locks: Locks;
  /** An invariant is being checked. */
  #checking = false;

  constructor(needs: Needs, plainFields: PlainFields, awaits: AwaitsAre) {
    const { findings } = this;
    const log = new EventLog(needs, plainFields);
    const threads = new Threads(needs, findings);
    this.watch = new Watch({
      thread: () => (this.#checking ? undefined : (threads.caller() ?? threads.active)),
      touch: (cell, writes) => log.touch(cell, writes),
      touchEverything: () => log.touchEverything(),
      unknown: (what) => void findings.unknown.add(what),
      restsOn: (what) => void findings.restsOn.add(what),
    });
    this.#log = log;
    this.#threads = threads;
    this.#pauses = new Pauses(needs, findings, threads, log, this.watch, awaits);
    this.#timers = new Timers(threads, log, this.#pauses, (what) => void findings.unknown.add(what));
    this.#locks = new Locks(needs, findings, threads, log, this.#pauses);
  }

  get events(): readonly ExecutedEvent[] {
    return this.#log.events;
  }

  /** At the end, what tasks would do if they were not blocked for ever. */
  get blocked(): readonly ExecutedEvent[] {
    return this.#log.blocked;
  }

  get threads(): readonly Thread[] {
    return this.#threads.all;
  }

  get clock(): VirtualClock {
    return this.#timers.clock;
  }

  /** To the world around it. */
  get inhabitant(): Inhabitant {
    const threads = this.#threads;
    return {
      // Where the scheduler is out of the way while tasks run (`unseen`), it is the validator that calls.
      calls: () => (threads.settingUp || this.isOver || scheduler === this.#locks) && threads.isProgram(),
      caller: () => threads.keyOfCaller,
      rely: (what) => void this.findings.virtual.add(what),
      unknown: (what) => {
        this.findings.unknown.add(what);
        this.findings.mayComeYet = true;
      },
      outside: () => this.#pauses.begunOutside(),
      lookAt: (signal) => this.#locks.signals.lookAt(signal),
      clock: this.clock,
    };
  }

  // The program: its set-up, its tasks, its checks.

  /** Runs what is the program's, and no task: its set-up, its checks. */
  inside<T>(run: () => T): T {
    return this.#threads.run(undefined, run);
  }

  /** Declares a task; it begins when the picker lets it. */
  start(task: Task, run: () => Promise<void>): Thread {
    const thread = this.#threads.of(task);
    thread.mustEnd = true;
    this.#log.begets = true;
    if (task.signal) this.#locks.signals.watch(task.signal, `abort(${thread.key})`);
    const go = (): void =>
      this.#pauses.whenEnded(thread, run(), (error) => {
        // A task that was cancelled ends with the reason, unless it knows better.
        const cancelled = task.signal?.aborted && task.signal.reason === error;
        if (!cancelled) this.findings.fail("assertion", `${thread.name}: ${messageOf(error)}`);
      });
    thread.pending = {
      label: "begin",
      enabledBy: [this.#log.at],
      go: () => this.#threads.run(thread, go),
    };
    return thread;
  }

  /**
   * Runs the program's set-up. What it awaits itself goes on at once; what it has begun and does not wait for goes on when
   * the tasks run.
   * @returns false if it does not end, which is a failure
   */
  async setUp(body: () => void | Promise<void>): Promise<boolean> {
    this.#pauses.begin();
    let ended = false;
    try {
      ended = await this.#ends("the body", this.inside(body), () => this.#pauses.goOnInSetUp());
    } finally {
      if (!ended) this.#pauses.end();
    }
    this.#threads.settingUp = false;
    this.#locks.names.endSetUp();
    this.watch.endSetUp();
    return ended;
  }

  /** Runs a final check alone: its points and timers go on at once, in the order of their times. */
  async check(final: () => void | Promise<void>): Promise<void> {
    await this.#ends("x.finally", this.inside(final), () => this.#goesOnAlone());
  }

  async #ends(what: string, result: void | Promise<void>, goOn: () => boolean): Promise<boolean> {
    if (typeof result?.then !== "function" || (await settles(result, goOn))) return true;
    this.findings.fail("lost-wakeup", `${what} does not end: it waits for what nobody has done in 5 s`);
    return false;
  }

  #goesOnAlone(): boolean {
    const next = nextAlone(this.threads);
    const pending = next?.pending;
    if (!pending) return false;
    next.pending = undefined;
    if (pending.deadline !== undefined) this.#timers.fires(pending.deadline, pending);
    pending.go();
    return true;
  }

  // Scheduling points of its own.

  /** @param fields the plain fields that are used until the next point. Undefined: any */
  step(label: string, fields: readonly string[] | undefined): Promise<void> {
    return this.#pauses.park(this.#threads.current(), { label, ...(fields && { fields }) });
  }

  access(cell: Shared<unknown>, writes: boolean, fields: readonly string[] | undefined): Promise<void> {
    const key = this.#locks.names.of(cell);
    return this.#pauses.park(this.#threads.current(), {
      label: `${writes ? "set" : "get"}(${key})`,
      touches: { key, writes },
      ...(fields && { fields }),
    });
  }

  /** Goes on when `thread` has ended. */
  join(thread: Thread): Promise<void> {
    return this.#pauses.park(this.#threads.current(), { label: `join(${thread.name})`, joins: thread });
  }

  /** The direct `await` of this promise is no point of its own. */
  mine<P extends Promise<unknown>>(promise: P): P {
    return this.#pauses.mine(promise);
  }

  // The run.

  /** Runs to the end, or to the first failure. */
  async run(pick: Picker, options: RunOptions): Promise<void> {
    const { findings } = this;
    schedule(this.#locks);
    const stopObserving = this.#locks.signals.observe();
    try {
      await nextTurn();
      while (!findings.again && (options.keepGoing || findings.failures.length === 0)) {
        const enabled = this.#enabled();
        if (enabled.length === 0) {
          this.#end();
          break;
        }
        if (this.events.length >= options.maxEvents) {
          findings.failures.push({ kind: "livelock", message: `${options.maxEvents} events and no end` });
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
      this.#pauses.end();
      this.#threads.end();
      stopObserving();
      schedule(undefined);
      this.watch.end();
    }
  }

  #enabled(): Thread[] {
    for (const thread of this.threads) this.#pauses.bridge(thread);
    const deadlines = this.threads.flatMap(({ pending }) => pending?.deadline ?? []);
    const first = Math.min(...deadlines);
    return this.threads.filter(({ pending }) => {
      if (!pending) return false;
      if (pending.joins && (!pending.joins.ended || pending.deadline === undefined))
        return pending.joins.ended;
      if (pending.deadline !== undefined) return pending.deadline === first;
      if (pending.arrival?.detail !== 0) return true;
      const { lock, task } = pending.arrival;
      return !isTaken(lock) || holds(task, lock); // who has it already is refused
    });
  }

  async #event(thread: Thread, afterEvent: (() => void) | undefined): Promise<void> {
    const pending = thread.pending!;
    if (thread.ended && thread.mustEnd)
      this.findings.unknown.add(
        `a piece of ${thread.name} runs after its task has ended (${pending.label}): await what it has begun`,
      );
    thread.pending = undefined;
    this.#threads.active = thread;
    const { took } = this.#log.begin(thread, pending);
    if (pending.deadline !== undefined) this.#timers.fires(pending.deadline, pending);
    else if (took !== undefined) this.#locks.took(took);
    if (pending.label !== AWAIT) thread.fields = pending.fields;
    // Arrivals only queue, or take the lock: `arrived` tells whether the task goes on.
    if (!pending.arrival) this.#log.goesOn(thread.fields);
    pending.go();
    // Everything that follows without waiting for a scheduling point belongs to the event.
    await nextTurn();
    this.watch.settle(thread);
    this.#pauses.mayDrift(thread);
    // In plain Node, what follows an `await` that is over comes before a rejection is called unhandled.
    const goesOn = ({ gaps, pending }: Thread): boolean => gaps.length > 0 || pending?.label === AWAIT;
    if (this.findings.rejected.size > 0 && !this.threads.some(goesOn)) this.findings.judgeRejections();
    if (afterEvent) this.#check(afterEvent);
    this.#log.end(thread, pending);
  }

  #check(afterEvent: () => void): void {
    this.#checking = true;
    this.#log.check(() => {
      try {
        this.inside(afterEvent);
      } catch (error) {
        this.findings.fail("assertion", messageOf(error));
      }
    });
    this.#checking = false;
  }

  /** Nobody can go on. */
  #end(): void {
    // What is not explored may be what they wait for.
    const cannotTell = this.findings.gaveUp || this.threads.some((thread) => this.#pauses.mayGoOn(thread));
    const stuck = cannotTell ? undefined : unseen(() => stuckFailure(this.threads));
    const mayBeOutside = stuck?.kind === "lost-wakeup" && this.findings.mayComeYet;
    if (stuck && !mayBeOutside) this.findings.failures.push(stuck);
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
      if (pending.joins && !pending.joins.ended) continue; // a timer behind another, which is looked at itself
      if (!enabled.includes(thread)) this.#log.block(thread, pending);
    }
  }

  /** A bound ends the execution. What anybody would have done next is not known, so it races with everything. */
  #cut(): void {
    for (const thread of this.threads) if (thread.pending) this.#log.cut(thread, thread.pending);
  }
}
