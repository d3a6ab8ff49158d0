import type { EventLog } from "./event-log.js";
import type { Pauses } from "./pauses.js";
import type { Pending, Thread } from "./thread.js";
import type { Threads } from "./threads.js";
import { CLOCK, type TimerHandle, type VirtualClock } from "./virtual-clock.js";

/** Virtual time: timers and sleepers, and what the program sees of them. */
export class Timers {
  #now = 0;
  readonly #threads = new Map<TimerHandle, Thread>();
  /** The last timer of a task's in a list. */
  readonly #lists = new Map<string, Thread>();
  /** How often the time was asked for since it last changed. */
  #reads = 0;

  constructor(
    private readonly threads: Threads,
    private readonly log: EventLog,
    private readonly pauses: Pauses,
    private readonly unknown: (what: string) => void,
  ) {}

  readonly clock: VirtualClock = {
    now: () => {
      this.log.touch(CLOCK, false);
      if (++this.#reads > MAX_READS) this.#spins();
      return this.#now;
    },
    sleep: (milliseconds) =>
      this.pauses.park(this.threads.current(), {
        label: `sleep(${milliseconds})`,
        ...this.#set(milliseconds),
      }),
    setTimeout: (callback, milliseconds, list) => {
      const timing = this.#set(milliseconds);
      const thread = this.threads.add(`timer(${milliseconds})`, undefined);
      const key = list === undefined ? undefined : `${thread.parent?.key ?? ""} ${list}`;
      const before = key === undefined ? undefined : this.#lists.get(key);
      if (key !== undefined) this.#lists.set(key, thread);
      thread.pending = {
        label: "fire",
        enabledBy: [this.log.at],
        ...timing,
        ...(before && !before.ended && { joins: before }),
        go: () => {
          thread.ended = true;
          thread.lastEvent = this.log.at;
          this.threads.run(thread, callback);
        },
      };
      const timer: TimerHandle = { deadline: timing.deadline };
      this.#threads.set(timer, thread);
      return timer;
    },
    clearTimeout: (timer) => {
      const thread = timer && this.#threads.get(timer);
      if (!thread?.pending) return;
      this.log.stop(thread, thread.pending);
      this.log.touch(CLOCK, true);
      this.log.release(CLOCK, thread.pending.setBy!);
      this.#leaveList(thread);
      thread.pending = undefined;
      thread.ended = true;
      thread.lastEvent = this.log.at;
    },
  };

  /** The timer is the next: its time has come. */
  fires(deadline: number, { setBy }: Pending): void {
    this.#now = Math.max(this.#now, deadline);
    this.#reads = 0;
    this.log.release(CLOCK, setBy!);
  }

  /** Sets a timer: it can change which one fires first, and so does its firing. */
  #set(milliseconds: number) {
    this.log.touch(CLOCK, true);
    return {
      touches: { key: CLOCK, writes: true },
      deadline: this.#now + Math.max(0, milliseconds),
      setBy: this.log.at,
    };
  }

  /** Who came after a timer that is stopped comes after the one before it. */
  #leaveList(thread: Thread): void {
    const before = thread.pending?.joins;
    for (const other of this.#threads.values()) {
      if (other.pending?.joins !== thread || other === thread) continue;
      const { joins: _, ...pending } = other.pending;
      other.pending = {
        ...pending,
        enabledBy: [...pending.enabledBy, this.log.at],
        ...(before && !before.ended && { joins: before }),
      };
    }
  }

  /** The program waits for time to pass by looking at it: in Node it would. */
  #spins(): void {
    const { name } = this.threads.caller() ?? this.threads.active ?? { name: "the set-up" };
    this.unknown(`${name} spins on the clock: use x.sleep()`);
    this.log.touch(CLOCK, true);
    this.#now += Math.ceil(this.#reads / MAX_READS);
  }
}

/** Who asks for the time more often, while it stands still, waits for it to pass. */
const MAX_READS = 200;
