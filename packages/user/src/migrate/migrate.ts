import { isFrom, newHandOverId, VfioError, type ErrnoName } from "@vfiokit/core";
import { canPrecopy, checkEnds } from "./check.js";
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
        this.onEvent({ event: "warning", message: `the target runs, but: ${failure}` });
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
    this.#warnOfPlainEnds(source, target);
    return precopy;
  }

  #warnOfPlainEnds(...ends: EndpointDescription[]): void {
    const plain = ends.filter(({ handOver }) => !handOver).map(({ name }) => name);
    if (plain.length === 0) return;
    const message =
      `${plain.join(" and ")}: no hand-over (no control socket): a mover that is killed between the end of the copy ` +
      "and its own cannot be recovered from, and the source must not be used again afterwards: end its server";
    this.onEvent({ event: "warning", message });
  }

  /** Copies, and begins again after resets, until the source is given away. */
  async #untilGiven(precopy: boolean): Promise<void> {
    for (;;) {
      try {
        this.#course.committed = false;
        await this.#copy.run(this.#id, precopy);
        await this.#course.enter("give");
        this.#course.committed = true;
        await this.#give();
        return;
      } catch (error) {
        if (error instanceof MigrateError) throw error;
        await this.#undo(error);
      }
    }
  }

  /** Lets the source run again. Fulfilled: begin again. @throws MigrateError */
  async #undo(error: unknown): Promise<void> {
    const cancelled = this.options.signal?.aborted === true;
    const again = isReset(error) && !cancelled && this.#restarts < (this.options.maxRestarts ?? MAX_RESTARTS);
    const lost = await failureOf(() => this.#resumeSource());
    const kept = await failureOf(() => this.#discard());
    if (again && lost === undefined && kept === undefined) {
      this.#restarts++;
      this.#id = this.#newId();
      this.onEvent({ event: "restart", restarts: this.#restarts, reason: reasonOf(error) });
      return;
    }
    const { source, target } = this.#names;
    const what = cancelled ? "cancelled" : reasonOf(error);
    const sourceNow = lost === undefined ? `${source} runs on` : `${source} does not run: ${lost}`;
    const targetNow =
      kept === undefined ? "" : `; ${target} has not confirmed that it dropped the image: ${kept}`;
    throw new MigrateError(
      cancelled ? "ECANCELED" : codeOf(error),
      `${this.#course.phase}: ${what}; ${sourceNow}${targetNow}`,
      this.#course.phase,
      lost === undefined ? "source" : "none",
      { cause: error },
    );
  }

  #newId(): string {
    return this.#instance === undefined
      ? crypto.randomUUID().replaceAll("-", "")
      : newHandOverId(this.#instance);
  }

  async #discard(): Promise<void> {
    try {
      await this.target.discard(this.#id);
    } catch (error) {
      // With its server, the image is gone.
      if (!(error instanceof EndpointGoneError)) throw error;
    }
  }

  async #resumeSource(): Promise<void> {
    try {
      await this.source.setState("RUNNING");
    } catch (error) {
      if (!isReset(error)) throw error;
      // A reset overtook it, after which the device is in RUNNING by itself: this finds out.
      await this.source.setState("RUNNING");
    }
    if (!this.#copy.held) return;
    this.#copy.held = false;
    await this.#course.hooks.afterResume?.();
  }

  /** The commit point. @throws VfioError: the source has refused, and is not given away; MigrateError */
  async #give(): Promise<void> {
    try {
      await this.source.give(this.#id);
    } catch (error) {
      if (error instanceof EndpointGoneError) {
        const message = `${error.message}: the target has the whole image, and takes over`;
        this.onEvent({ event: "warning", message });
      } else if (isAnswer(error)) throw error;
      else throw this.#inDoubt(error, "has not confirmed that it was given away", this.#names.source);
    }
  }

  async #activate(): Promise<void> {
    await this.#course.enter("activate");
    try {
      await this.target.activate(this.#id);
    } catch (error) {
      throw await this.#takeBack(error);
    }
    await this.#course.point("activated");
  }

  /** The target could not be activated: the source runs again, if the target certainly does not. */
  async #takeBack(error: unknown): Promise<MigrateError> {
    const { source, target } = this.#names;
    const gone = error instanceof EndpointGoneError;
    if (!gone && !isAnswer(error)) return this.#inDoubt(error, "has not confirmed that it runs", target);
    // After a reset there is nothing to drop.
    const kept = gone || isReset(error) ? undefined : await failureOf(() => this.target.discard(this.#id));
    if (kept !== undefined)
      return this.#inDoubt(error, `does not run, and does not drop the image (${kept})`, target);
    const lost = await failureOf(() => this.source.takeBack(this.#id));
    if (lost !== undefined) return this.#inDoubt(error, `could not be taken back (${lost})`, source);
    this.#copy.held = false;
    await failureOf(() => this.#course.hooks.afterResume?.());
    const message = `activate: ${target}: ${reasonOf(error)}; ${source} was taken back, and runs on`;
    return new MigrateError(codeOf(error), message, "activate", "source", { cause: error });
  }

  #inDoubt(error: unknown, what: string, who: string): MigrateError {
    const { phase } = this.#course;
    const { source, target } = this.#names;
    const message =
      `${phase}: ${reasonOf(error)}: ${who} ${what}. ` +
      `Run neither of them before this: vfiokit migrate --recover ${source} ${target}`;
    return new MigrateError(codeOf(error), message, phase, "unknown", { cause: error });
  }
}

function codeOf(error: unknown): ErrnoName {
  return error instanceof VfioError ? error.code : "EIO";
}

/** Why it failed; undefined where it did not. */
async function failureOf(attempt: () => void | Promise<void> | undefined): Promise<string | undefined> {
  try {
    await attempt();
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}
