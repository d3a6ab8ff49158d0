import { VfioError, type ErrnoName } from "@vfiokit/core";
import { isFrom, newHandOverId } from "@vfiokit/core/migration";
import { canPrecopy, checkEnds } from "./check.js";
import { checkStream } from "./check-stream.js";
import { realClock } from "./clock.js";
import { Course } from "./course.js";
import type { EndpointDescription, MigrationSource, MigrationTarget } from "./endpoint.js";
import { EndpointGoneError, isAnswer, isReset, MigrateError, reasonOf } from "./errors.js";
import { ImageCopy } from "./image-copy.js";
import type { MigrateClock, MigrateEvent, MigrateOptions, MigrateResult } from "./options.js";

const MAX_RESTARTS = 3;

/**
 * Moves a device from one server to another: docs/migration.md says what each phase does. The ends stay the caller's
 * to close.
 *
 * A failure before the source is given away leaves the source running, and the target as after a reset. After that the
 * target runs, or the message says what to do.
 * @throws MigrateError; VfioError before anything was done: the ends do not fit, or do not answer
 */
export async function migrate(
  source: MigrationSource,
  target: MigrationTarget,
  options: MigrateOptions,
  onEvent: (event: MigrateEvent) => void = () => undefined,
): Promise<MigrateResult> {
  return new Migrating(source, target, options, onEvent).run();
}

class Migrating {
  /** Of this attempt: a hand-over that was discarded is over, and its id with it. */
  #id: string;
  /** `HandOver.instance` of the source. */
  #instance: string | undefined;
  readonly #clock: MigrateClock;
  readonly #course: Course;
  readonly #copy: ImageCopy;
  #restarts = 0;
  #names = { source: "", target: "" };

  constructor(
    private readonly source: MigrationSource,
    private readonly target: MigrationTarget,
    private readonly options: MigrateOptions,
    private readonly onEvent: (event: MigrateEvent) => void,
  ) {
    this.#id = options.id ?? "";
    this.#clock = options.clock ?? realClock;
    this.#course = new Course(options, onEvent);
    this.#copy = new ImageCopy(source, target, options, this.#clock, this.#course);
  }

  async run(): Promise<MigrateResult> {
    const begunAt = this.#clock.now();
    const precopy = await this.#check();
    let downtime = 0;
    if (!this.options.dryRun) {
      await this.#untilGiven(precopy);
      await this.#activate();
      downtime = this.#clock.now() - this.#copy.stoppedAt;
      const failure = await failureOf(() => this.#course.hooks.afterActivate?.());
      if (failure !== undefined)
        this.onEvent({ event: "warning", message: `the target runs, but: ${reasonOf(failure)}` });
      this.#warnOfDowntime(downtime);
    }
    const { meter, precopyEnd, stopCopyBytes } = this.#copy;
    const result: MigrateResult = {
      id: this.#id,
      status: this.options.dryRun ? "compatible" : "migrated",
      bytes: meter.bytes,
      stopCopyBytes,
      rounds: meter.round,
      restarts: this.#restarts,
      precopyEnd,
      downtime_ms: downtime,
      expectedDowntime_ms: this.#copy.expectedDowntime,
      total_ms: this.#clock.now() - begunAt,
    };
    await this.#course.enter("done");
    this.onEvent({ event: "done", ...result });
    return result;
  }

  /** @returns whether the device is copied while it runs */
  async #check(): Promise<boolean> {
    await this.#course.enter("check");
    const source = await this.source.describe();
    await this.#course.point("source");
    const target = await this.target.describe();
    await this.#course.point("target");
    this.#names = { source: source.name, target: target.name };
    this.#instance = source.instance;
    if (this.#id === "") this.#id = this.#newId();
    // Or a recovery could not tell the source from a server that was started anew in its place.
    if (source.instance !== undefined && !isFrom(this.#id, source.instance))
      throw new VfioError("EINVAL", `id ${this.#id}: it does not begin with the source's ${source.instance}`);
    const precopy = canPrecopy(source, target) && this.options.maxRounds > 0;
    const recoverable = source.handOver && target.handOver;
    this.onEvent({ event: "check", id: this.#id, source, target, precopy, recoverable });
    checkEnds(source, target);
    for (const doubt of checkStream(source, target)) this.#warn(doubt);
    this.#warnOfPlainEnds(source, target);
    return precopy;
  }

  #warnOfPlainEnds(...ends: EndpointDescription[]): void {
    const plain = ends.filter(({ handOver }) => !handOver).map(({ name }) => name);
    if (plain.length === 0) return;
    this.#warn(
      `${plain.join(" and ")}: no hand-over (no control socket): a migration client that is killed between the end of the copy ` +
        "and its own cannot be recovered from, and the source must not be used again afterwards: end its server",
    );
  }

  /** Copies, and begins again after resets, until the source is given away. */
  async #untilGiven(precopy: boolean): Promise<void> {
    for (let given = false; !given;) {
      try {
        await this.#copy.run(this.#id, precopy);
        await this.#course.enter("give");
        await this.#give();
        given = true;
      } catch (error) {
        if (error instanceof MigrateError) throw error;
        given = await this.#undo(error);
      }
    }
    this.#course.committed = true;
  }

  /**
   * Lets the source run again, and drops what the target has.
   * @returns false: to begin again; true: the source is gone, and the target has the whole image
   * @throws MigrateError: that was all
   */
  async #undo(error: unknown): Promise<boolean> {
    const cancelled = this.options.signal?.aborted === true;
    const again = isReset(error) && !cancelled && this.#restarts < (this.options.maxRestarts ?? MAX_RESTARTS);
    const lost = await failureOf(() => this.#resumeSource());
    if (lost instanceof EndpointGoneError && this.#copy.prepared) {
      this.#warnOfTakeOver(lost);
      return true;
    }
    if (lost === undefined) await this.#release();
    const kept = await failureOf(() => this.target.discard(this.#id));
    const dropped = kept === undefined || kept instanceof EndpointGoneError;
    if (again && lost === undefined && dropped) {
      this.#restarts++;
      this.#id = this.#newId();
      this.onEvent({ event: "restart", restarts: this.#restarts, reason: reasonOf(error) });
      return false;
    }
    const what = cancelled ? "cancelled" : reasonOf(error);
    const code = cancelled ? "ECANCELED" : codeOf(error);
    throw this.#failure(code, what, lost, dropped ? undefined : kept, error);
  }

  /** @param lost why the source does not run; @param kept why the target has not dropped the image */
  #failure(code: ErrnoName, what: string, lost: unknown, kept: unknown, cause: unknown): MigrateError {
    const { source, target } = this.#names;
    const { phase } = this.#course;
    const parts = [`${phase}: ${what}`];
    let runs: MigrateError["runs"] = "source";
    if (lost === undefined) parts.push(`${source} runs on`);
    else if (isAnswer(lost)) {
      runs = "none";
      parts.push(`${source} does not run: ${reasonOf(lost)}`);
    } else if (lost instanceof EndpointGoneError) {
      runs = "none";
      parts.push(`${source} is gone, and its state with it: ${reasonOf(lost)}`);
    } else {
      runs = "unknown";
      parts.push(`${source} has not confirmed that it runs on: ${reasonOf(lost)}`);
    }
    if (kept !== undefined)
      parts.push(`${target} has not confirmed that it dropped the image: ${reasonOf(kept)}`);
    if (runs === "unknown" || kept !== undefined) parts.push(this.#advice());
    return new MigrateError(code, parts.join("; "), phase, runs, { cause });
  }

  #newId(): string {
    return this.#instance === undefined
      ? crypto.randomUUID().replaceAll("-", "")
      : newHandOverId(this.#instance);
  }

  async #resumeSource(): Promise<void> {
    try {
      await this.source.setState("RUNNING");
    } catch (error) {
      if (!isReset(error)) throw error;
      // A reset overtook it, after which the device is in RUNNING by itself: this finds out.
      await this.source.setState("RUNNING");
    }
  }

  /** The source runs: everybody may access it again. */
  async #release(): Promise<void> {
    if (!this.#copy.held) return;
    this.#copy.held = false;
    const failure = await failureOf(() => this.#course.hooks.afterResume?.());
    if (failure !== undefined) this.#warn(`the source runs, but: ${reasonOf(failure)}`);
  }

  /** Said only where it was promised: pre-copy that has ended otherwise has warned already. */
  #warnOfDowntime(downtime: number): void {
    const { maxDowntime_ms } = this.options;
    const { precopyEnd, expectedDowntime } = this.#copy;
    if (precopyEnd !== "converged" || downtime <= maxDowntime_ms) return;
    this.#warn(
      `the downtime was ${downtime.toFixed(1)} ms, more than --max-downtime ${maxDowntime_ms} ms: ` +
        `${(expectedDowntime ?? 0).toFixed(1)} ms was expected`,
    );
  }

  /** The commit point. @throws VfioError: the source has refused, and is not given away; MigrateError */
  async #give(): Promise<void> {
    try {
      await this.source.give(this.#id, this.#names.target);
    } catch (error) {
      if (error instanceof EndpointGoneError) this.#warnOfTakeOver(error);
      else if (isAnswer(error)) throw error;
      else throw this.#inDoubt(error, this.#names.source, "has not confirmed that it was given away");
    }
  }

  async #activate(): Promise<void> {
    try {
      await this.#course.enter("activate");
      await this.target.activate(this.#id);
      await this.#course.point("activated");
    } catch (error) {
      throw await this.#takeBack(error);
    }
  }

  /** The target could not be activated: the source runs again, if the target certainly does not. */
  async #takeBack(error: unknown): Promise<MigrateError> {
    const { source, target } = this.#names;
    if (!(error instanceof EndpointGoneError)) {
      if (!isAnswer(error)) return this.#inDoubt(error, target, "has not confirmed that it runs");
      const kept = await failureOf(() => this.target.discard(this.#id));
      if (kept !== undefined && !(kept instanceof EndpointGoneError))
        return this.#inDoubt(error, target, `does not run, and does not drop the image (${reasonOf(kept)})`);
    }
    const lost = await failureOf(() => this.source.takeBack(this.#id));
    if (lost !== undefined)
      return this.#inDoubt(error, source, `could not be taken back (${reasonOf(lost)})`);
    await this.#release();
    const message = `activate: ${reasonOf(error)}; ${source} was taken back, and runs on`;
    return new MigrateError(codeOf(error), message, "activate", "source", { cause: error });
  }

  #inDoubt(error: unknown, who: string, what: string): MigrateError {
    const { phase } = this.#course;
    const message = `${phase}: ${reasonOf(error)}; ${who} ${what}; ${this.#advice()}`;
    return new MigrateError(codeOf(error), message, phase, "unknown", { cause: error });
  }

  #advice(): string {
    const { source, target } = this.#names;
    return `to end it one way or the other: vfiokit migrate --recover ${source} ${target}`;
  }

  #warnOfTakeOver(error: EndpointGoneError): void {
    this.#warn(`${reasonOf(error)}: ${this.#names.target} has the whole image, and takes over`);
  }

  #warn(message: string): void {
    this.onEvent({ event: "warning", message });
  }
}

function codeOf(error: unknown): ErrnoName {
  return error instanceof VfioError ? error.code : "EIO";
}

/** What it threw; undefined where it was done. */
async function failureOf(attempt: () => void | Promise<void> | undefined): Promise<unknown> {
  try {
    await attempt();
    return undefined;
  } catch (error) {
    return error ?? new Error("an unknown reason");
  }
}
