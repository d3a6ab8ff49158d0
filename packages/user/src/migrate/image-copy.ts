import { Bandwidth } from "./bandwidth.js";
import type { Course } from "./course.js";
import type { MigrationSource, MigrationTarget } from "./endpoint.js";
import { Meter, remainingBytes } from "./meter.js";
import type { MigrateClock, MigrateOptions, PrecopyEnd } from "./options.js";
import { pump } from "./pump.js";

/** A round with a source that does not tell how much there is: it ends when there is nothing more, or here. Bytes. */
const BLIND_ROUND = 256 * 1024 * 1024;

/** Steps and questions of a stop, for one question of pre-copy. */
const STEPS_PER_QUESTION = 3;

/** Milliseconds between two "progress" events. */
const PROGRESS_EVERY = 200;

/** Copies the device's image: in rounds while the device runs, and the rest while it is stopped. */
export class ImageCopy {
  readonly meter: Meter;
  precopyEnd: PrecopyEnd = "none";
  stopCopyBytes = 0;
  /** What the stop was expected to take, when it began; undefined where nothing told. Milliseconds. */
  expectedDowntime: number | undefined;
  /** When the source was told to stop. */
  stoppedAt = 0;
  /** Nobody accesses the device: `beforeStop` was called, and the source has not run since. */
  held = false;
  /** The target has the whole image, and can run on it. */
  prepared = false;
  readonly #bandwidth: Bandwidth;
  #progressAt = -Infinity;

  constructor(
    private readonly source: MigrationSource,
    private readonly target: MigrationTarget,
    private readonly options: MigrateOptions,
    private readonly clock: MigrateClock,
    private readonly course: Course,
  ) {
    this.meter = new Meter(clock);
    this.#bandwidth = new Bandwidth(options.bandwidth_Bps, clock);
  }

  /** A whole image, from its beginning until the target has it, and can run on it. */
  async run(id: string, precopy: boolean): Promise<void> {
    const { course, source, target } = this;
    this.meter.restart();
    this.prepared = false;
    await course.enter("precopy");
    await target.begin();
    await course.point("target-ready");
    if (precopy) await this.#precopy();
    this.expectedDowntime = precopy ? this.meter.expectedDowntime : undefined;

    await course.enter("stop");
    this.held = true;
    await course.hooks.beforeStop?.();
    await course.point("held");
    this.stoppedAt = this.clock.now();
    await source.setState("STOP_COPY");

    await course.enter("stop-copy");
    const before = this.meter.bytes;
    this.meter.begin(await this.#remaining());
    await this.#pump("stop-copy", Infinity);
    this.meter.end();
    this.stopCopyBytes = this.meter.bytes - before;
    this.meter.remaining = 0;

    await course.enter("prepare");
    await target.prepare(id);
    this.prepared = true;
    await course.point("prepared");
  }

  async #precopy(): Promise<void> {
    const { course, meter, options } = this;
    await this.source.setState("PRE_COPY");
    await course.point("source-ready");
    let remaining = await this.#remaining();
    do {
      meter.round++;
      meter.begin(remaining);
      // What changes while this is copied is the next round's: a device that changes faster than it is copied has
      // rounds all the same.
      const limit = remaining ?? BLIND_ROUND;
      const copied = await this.#pump("precopy", Math.max(limit, 1));
      // A device without an estimate has nothing more to send, for now, when it stops before the limit.
      const ended = copied === 0 || (remaining === undefined && copied < limit);
      remaining = await this.#remaining();
      meter.endRound(remaining);
      course.onEvent({ event: "round", ...meter.progress("precopy") });
      await course.point("round");
      this.#endPrecopy(ended);
    } while (this.precopyEnd === "none");
    const expected = meter.expectedDowntime;
    if (this.precopyEnd !== "converged" && !meter.isSmall)
      course.onEvent({
        event: "warning",
        message:
          `pre-copy has ended without reaching --max-downtime ${options.maxDowntime_ms} ms: ` +
          `${expected === undefined ? "an unknown time" : `${Math.ceil(Number(expected.toFixed(3)))} ms`} is expected`,
      });
  }

  /** Decides whether this was the last round. @param ended the device had nothing more to send */
  #endPrecopy(ended: boolean): void {
    const { meter, options } = this;
    const { expectedDowntime } = meter;
    if (expectedDowntime !== undefined && expectedDowntime <= options.maxDowntime_ms)
      this.precopyEnd = "converged";
    else if (ended) this.precopyEnd = "nothing-left";
    else if (meter.round >= options.maxRounds) this.precopyEnd = "rounds";
    else this.precopyEnd = "none";
  }

  #pump(phase: "precopy" | "stop-copy", limit: number): Promise<number> {
    const { course, meter } = this;
    return pump(this.source, this.target, limit, {
      beforeWrite: (bytes) => {
        const point = course.point("write");
        const wait = () => this.#bandwidth.take(bytes, course.signal);
        return point ? point.then(wait) : wait();
      },
      written: (bytes) => {
        meter.sent(bytes);
        const now = this.clock.now();
        if (now - this.#progressAt < PROGRESS_EVERY) return;
        this.#progressAt = now;
        course.onEvent({ event: "progress", ...meter.progress(phase) });
      },
    });
  }

  async #remaining(): Promise<number | undefined> {
    const { source, course, meter, clock } = this;
    const askedAt = clock.now();
    const precopy = course.phase === "precopy";
    const remaining = remainingBytes(precopy ? await source.precopy() : undefined, await source.dataSize());
    // Two or three messages to and fro; stopping has STOP_COPY, such a question, the hand-over's three steps.
    if (precopy) meter.steps_ms = Math.max(meter.steps_ms, STEPS_PER_QUESTION * (clock.now() - askedAt));
    return remaining;
  }
}
