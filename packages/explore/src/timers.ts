import type { EventLog } from "./event-log.js";
import type { Pauses } from "./pauses.js";
import type { Pending, Thread } from "./thread.js";
import type { Threads } from "./threads.js";
import { CLOCK, type TimerHandle, type VirtualClock } from "./virtual-clock.js";

/** Virtual time: timers and sleepers, and what the program sees of them. */
export class Timers {
  #now = 0;
  readonly #threads = new Map<TimerHandle, Thread>();

  constructor(
    private readonly threads: Threads,
    private readonly log: EventLog,
    private readonly pauses: Pauses,
  ) {}

  readonly clock: VirtualClock = {
    now: () => {
      this.log.touch(CLOCK, false);
      return this.#now;
    },
    sleep: (milliseconds) =>
      this.pauses.park(this.threads.current(), {
        label: `sleep(${milliseconds})`,
        ...this.#set(milliseconds),
      }),
    setTimeout: (callback, milliseconds) => {
      const timing = this.#set(milliseconds);
      const thread = this.threads.add(`timer(${milliseconds})`, undefined);
      thread.pending = {
        label: "fire",
        enabledBy: [this.log.at],
        ...timing,
        go: () => {
          thread.ended = true;
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
      thread.pending = undefined;
    },
  };

  /** The timer is the next: its time has come. */
  fires(deadline: number, { setBy }: Pending): void {
    this.#now = deadline;
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
}
