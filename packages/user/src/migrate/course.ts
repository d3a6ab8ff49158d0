import { VfioError } from "@vfiokit/core";
import type { MigrateEvent, MigrateHooks, MigrateOptions, MigratePhase } from "./options.js";

/** Where a migration is: its phase, its points, and whether it can still be cancelled. */
export class Course {
  phase: MigratePhase = "check";
  readonly hooks: MigrateHooks;
  #points = 0;
  /** The source has given the device away: the migration is completed, whatever the signal says. */
  committed = false;

  constructor(
    private readonly options: MigrateOptions,
    readonly onEvent: (event: MigrateEvent) => void,
  ) {
    this.hooks = options.hooks ?? {};
  }

  /** What cancels the migration, as long as it can be cancelled. */
  get signal(): AbortSignal | undefined {
    return this.committed ? undefined : this.options.signal;
  }

  async enter(phase: MigratePhase): Promise<void> {
    this.phase = phase;
    this.onEvent({ event: "phase", phase });
    await this.point("begin");
  }

  /** A point of the present phase. @throws VfioError ECANCELED: the migration was cancelled */
  point(step: string): Promise<void> | undefined {
    this.assertWanted();
    return this.hooks.fault && this.#fault(step);
  }

  /** @throws VfioError ECANCELED */
  assertWanted(): void {
    if (this.signal?.aborted) throw new VfioError("ECANCELED", "the migration was cancelled");
  }

  async #fault(step: string): Promise<void> {
    await this.hooks.fault!(`${this.phase}:${step}:${this.#points++}`);
    this.assertWanted();
  }
}
