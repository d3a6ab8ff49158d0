import type { AwaitsAre } from "./assumptions.js";
import { Awaits, placeOf } from "./awaits.js";
import { messageOf } from "./errors.js";
import type { EventLog } from "./event-log.js";
import type { Findings } from "./findings.js";
import type { Needs } from "./needs.js";
import type { Pending, Thread } from "./thread.js";
import type { Threads } from "./threads.js";
import type { Watch } from "./watch.js";

/** The label of what follows an `await`. It uses the plain fields that the piece before was said to use. */
export const AWAIT = "await";

/** Where threads stop, and go on later: at the explorer's own points, and at awaits of any other promise. */
export class Pauses {
  readonly #awaits: Awaits<Thread> | undefined;
  /** A task has begun something that the world outside ends. */
  #outside = false;
  /** So has the set-up, which may have waited for it. */
  #outsideInSetUp = false;
  /** Who has awaited what no scheduling point settled, and since which event. */
  readonly #drifted = new Map<Thread, string>();

  constructor(
    private readonly needs: Needs,
    private readonly findings: Findings,
    private readonly threads: Threads,
    private readonly log: EventLog,
    private readonly watch: Watch,
    awaits: AwaitsAre,
  ) {
    const identity = log.sharesAnything || awaits === "points" ? needs.tryIdentify() : undefined;
    if (!identity) return;
    this.#awaits = new Awaits(identity, {
      explores: (thread) => threads.explores(thread),
      mayBeMet: (thread) => !threads.settingUp && this.#mayBeMet(thread),
      outside: (thread) => this.#begunOutside(thread),
      at: () => log.at,
      unheld: (thread, place) =>
        findings.unknown.add(
          `${thread.name} queues a callback past the explorer, at ${place}: call process.nextTick or queueMicrotask by these names`,
        ),
      threw: (error) => findings.fail("uncaught-exception", messageOf(error)),
      ready: (thread, go) => this.#ready(thread, go),
      escaped: (thread, place) =>
        findings.unknown.add(`${thread.name} awaits what is no promise, at ${place}: use x.step()`),
    });
  }

  /** The program begins: its set-up. */
  begin(): void {
    this.#awaits?.begin();
  }

  /** The run is over. */
  end(): void {
    this.#awaits?.end();
    if (!this.#mayMissEnds) return;
    for (const [{ name }, label] of this.#drifted)
      this.findings.unknown.add(`${name} awaits something that is not explored, after ${label}`);
  }

  /** What the set-up awaits goes on one after the other, as in plain Node. @returns false: there is nothing */
  goOnInSetUp(): boolean {
    const next = this.threads.setUp.gaps.shift();
    next?.go();
    return next !== undefined;
  }

  /** If it is the program that calls: it has begun what ends when the world outside says so. */
  begunOutside(): void {
    const thread = this.needs.identity?.getStore();
    if (this.#awaits && thread && this.threads.explores(thread)) this.#begunOutside(thread);
  }

  // The explorer's own points.

  /** The thread stops; it goes on when the promise resolves. */
  park(thread: Thread, pending: Omit<Pending, "go" | "enabledBy">): Promise<void> {
    if (thread.pending?.label === AWAIT) {
      // It goes on in two places: the one that was ready first is next.
      // eslint-disable-next-line @typescript-eslint/unbound-method -- a function of the gap's own
      const { go, enabledBy } = thread.pending;
      thread.gaps.unshift({ go: () => go(), enabledBy: enabledBy[0]! });
      thread.pending = undefined;
    }
    if (thread.pending ?? thread.waiting) {
      if (this.findings.again) return new Promise(() => undefined);
      // Not thrown: the program might catch it, and go on as if nothing had been.
      const first = thread.pending?.label ?? "a lock";
      const place = placeOf(new Error().stack) ?? "a place within a library";
      this.findings.unknown.add(
        `${thread.name} waits for ${first} and ${pending.label} at once, at ${place}: make it two tasks`,
      );
      this.findings.gaveUp = true;
      return new Promise(() => undefined);
    }
    this.#landed(thread);
    return this.mine(
      new Promise((resolve) => {
        thread.pending = { ...pending, enabledBy: [this.log.at], go: resolve };
      }),
    );
  }

  /** The direct `await` of this promise is no point of its own. */
  mine<P extends Promise<unknown>>(promise: P): P {
    return this.#awaits?.mine(promise) ?? promise;
  }

  /** `promise.then`, not held back: the thread has run to its end. */
  whenEnded(thread: Thread, promise: Promise<void>, failed: (error: unknown) => void): void {
    const ended = (): void => {
      this.#landed(thread);
      thread.ended = true;
      thread.lastEvent = this.log.at;
    };
    const endedBadly = (error: unknown): void => {
      ended();
      failed(error);
    };
    if (this.#awaits) this.#awaits.then(promise, ended, endedBadly);
    else void promise.then(ended, endedBadly);
  }

  // Awaits of other promises.

  /** Who has nothing else to do goes on after its first `await` that is over. */
  bridge(thread: Thread): void {
    if (thread.gaps.length === 0) return;
    if (thread.pending ?? thread.waiting) {
      if (thread.pending?.label !== AWAIT)
        this.findings.unknown.add(`${thread.name} does two things at once: make it two tasks`);
      return;
    }
    // eslint-disable-next-line @typescript-eslint/unbound-method -- a function of the gap's own
    const { enabledBy, go } = thread.gaps.shift()!;
    thread.pending = { label: AWAIT, enabledBy: [enabledBy], go };
  }

  /** A thread may await what is no scheduling point. Who lets it go on does not commute with that. */
  mayDrift(thread: Thread): void {
    const { ended, mustEnd, pending, waiting, adrift, gaps } = thread;
    if (ended || !mustEnd || adrift || (pending ?? waiting) || gaps.length > 0) return;
    thread.adrift = true;
    this.#drifts(thread);
    if (!this.log.sharesAnything) {
      this.needs.gaps = true;
      this.findings.again = true;
    }
    this.log.touch(`await(${thread.key})`, true);
  }

  /** At the end of a run, it cannot be told whether the thread would have gone on. */
  mayGoOn({ adrift, gaps, pending, waiting }: Thread): boolean {
    // Either is unknown as well.
    return (adrift && this.#mayMissEnds) || (gaps.length > 0 && (pending ?? waiting) !== undefined);
  }

  /** What threads await may be over without the explorer's seeing it. */
  get #mayMissEnds(): boolean {
    return this.#outside || !this.#awaits;
  }

  /**
   * Somebody could tell whether the thread has gone on after an `await`. Not if it has used nothing in its present piece
   * but a mutex that is its own now, and has let nobody begin: then it makes no difference whether what follows comes at
   * once. (After a timer it does: the next one may be due.)
   */
  #mayBeMet(thread: Thread): boolean {
    const { log } = this;
    if (log.sharesAnything || this.#outside || thread !== this.threads.active || log.begets) return true;
    if (this.watch.mayUseUnseen(thread)) return true;
    const last = log.events.at(-1);
    const took = last?.timer ? undefined : last?.took;
    return [...log.touched.keys()].some((object) => object !== took);
  }

  /** A promise that the thread awaits has settled. */
  #ready(thread: Thread, go: () => void): void {
    if (!this.threads.explores(thread)) return; // of a run that is over
    if (!this.#mayBeMet(thread)) {
      go();
      return;
    }
    this.#landed(thread);
    if (thread === this.threads.setUp) {
      this.threads.joinSetUp();
      if (this.#outsideInSetUp) this.#begunOutside(thread); // it may have waited for that until now
    }
    thread.gaps.push({ enabledBy: this.log.at, go });
  }

  /** What the thread has begun may be over in time, by chance. The set-up mostly waits for it, and nobody runs beside it. */
  #begunOutside(thread: Thread): void {
    if (this.threads.settingUp) {
      this.#outsideInSetUp = true;
      return;
    }
    this.#outside = true;
    this.#drifts(thread);
  }

  #drifts(thread: Thread): void {
    if (!this.#drifted.has(thread)) this.#drifted.set(thread, this.log.events.at(-1)?.label ?? "the set-up");
  }

  #landed(thread: Thread): void {
    if (!thread.adrift) return;
    thread.adrift = false;
    this.log.touch(`await(${thread.key})`, true);
  }
}
