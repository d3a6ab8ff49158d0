import { Shared, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { ResetInitiator } from "../reset/initiator.js";
import { MigrationState, migrationStateName } from "./fsm.js";
import { checkHandOverId, isFrom, newInstance } from "./hand-over-id.js";
import type { Migration } from "./machine.js";

/** What a hand-over needs of its device. */
export interface HandedOverDevice {
  readonly name: string;
  readonly generation: number;
  /** Stops the function, whatever else stops it or starts it. Does nothing if it is stopped for that already. */
  holdFunction(): void;
  /** Ends that. @throws what the device throws if it cannot run: then it is still stopped */
  releaseFunction(): void;
  reset(task: Task, initiator: ResetInitiator): Promise<void>;
}

/**
 * Where a device is in a hand-over.
 *
 * | phase      | whose       | the device                                       | leads out               |
 * | ---------- | ----------- | ------------------------------------------------ | ----------------------- |
 * | `none`     | everybody's | runs, or is where its client's migration has it  | `prepare`, `give`       |
 * | `prepared` | a target's  | has the image loaded, and is kept in STOP        | `activate`, `discard`   |
 * | `given`    | a source's  | has given its image away, and is kept in STOP    | `takeBack`, `discard`   |
 */
export type HandOverPhase = "none" | "prepared" | "given";

/** How a hand-over ended for a device. "lost": a reset dropped the image before it was activated. */
export type HandOverOutcome = "activated" | "discarded" | "lost" | "taken back";

/** How far a hand-over has come, as one of its two ends sees it. */
export interface HandOverStatus {
  readonly phase: HandOverPhase;
  /** Of the hand-over under way, in `prepared` and `given`: 32 hexadecimal digits. */
  readonly id?: string;
  /** Who it was given to, where the migration client has said so. */
  readonly to?: string;
  /** Since when it has been `prepared` or `given`: ISO 8601, UTC. */
  readonly since?: string;
  /** The device was reset since: a prepared image is lost. */
  readonly wasReset: boolean;
}

interface Current {
  readonly phase: "prepared" | "given";
  readonly id: string;
  readonly generation: number;
  readonly to: string | undefined;
  readonly since: string;
}

/** How many ended hand-overs are remembered: one that is asked about later has become "never heard of". */
const REMEMBERED = 1000;

/**
 * One device's part in a hand-over: a two-phase commit between two devices of which each is told by a migration client.
 *
 * `prepare` (target), `give` (source: the commit), `activate` (target). Before the commit the source can go on at any
 * time, and the target is discarded; after it the target runs, or the source is taken back, if the target certainly
 * has not been activated. From `prepare` on the target, and from `give` on the source, runs only by one of these
 * steps: no client's leaving, no reset and no transition that a client asks for makes it run. So of the two devices at
 * most one runs the migrated state, whoever fails and whenever.
 *
 * Each step can be repeated, by somebody else too. One that has ended a hand-over also refuses the steps before it that
 * come late: what was taken back cannot be given any more.
 *
 * Steps run under `stateMutex`; a step that has it is not cut short with its task, for somebody has to hear how it ended.
 */
export class HandOver {
  /** Of this device, in this process: a server that was started anew has another. 16 hexadecimal digits. */
  readonly instance = newInstance();
  readonly #current = new Shared<Current | undefined>("handOver", undefined);
  /** By id, the oldest first. */
  readonly #outcomes = new Map<string, HandOverOutcome>();

  /** @internal */
  constructor(
    private readonly device: HandedOverDevice,
    private readonly migration: Migration,
  ) {}

  status(): HandOverStatus {
    const current = this.#current.value;
    if (!current) return { phase: "none", wasReset: false };
    const { phase, id, to, since } = current;
    return { phase, id, ...(to !== undefined && { to }), since, wasReset: this.#wasReset(current) };
  }

  /** How hand-over `id` ended here. Undefined: it has not, or was never heard of. */
  outcomeOf(id: string): HandOverOutcome | undefined {
    return this.#outcomes.get(id);
  }

  /**
   * The target: loads the image that RESUMING has received, if that has not been done, and keeps the device stopped
   * with it.
   * @throws VfioError EINVAL: the image is refused; ECANCELED: there is none, or a reset has dropped it, or `id` has ended;
   *   EBUSY: another hand-over is under way
   */
  async prepare(task: Task, id: string): Promise<void> {
    await this.#step(task, id, async (aborted) => {
      const current = this.#assertFree(id, "prepared");
      if (current && this.#wasReset(current)) throw this.#lost(id);
      if (current) return;
      this.#refuseEnded(id, "prepare");
      const { migration } = this;
      if (migration.state === MigrationState.RESUMING)
        await migration.goTo(task, MigrationState.STOP, aborted);
      if (!migration.imageLoaded) {
        const state = migrationStateName(migration.state);
        throw this.#error("ECANCELED", `prepare in ${state}: no image is loaded, or a reset has dropped it`);
      }
      this.#begin("prepared", id);
    });
  }

  /**
   * The target: runs.
   * @throws VfioError ECANCELED: it was reset since `prepare`: the image is lost, and the device runs as after any reset;
   *   or it is not prepared for `id`. EBUSY: another hand-over is under way
   */
  async activate(task: Task, id: string): Promise<void> {
    await this.#step(task, id, async (aborted) => {
      if (this.outcomeOf(id) === "activated") return;
      this.#refuseEnded(id, "activate");
      const current = this.#assertFree(id, "prepared");
      if (!current) throw this.#error("ECANCELED", `activate: no image of hand-over ${id} is loaded`);
      if (!this.#wasReset(current) && (await this.#run(task, aborted))) {
        this.#end(id, "activated");
        return;
      }
      this.#end(id, "lost");
      await this.migration.resetRecord(task);
      throw this.#lost(id);
    });
  }

  /**
   * The target: drops the image that is loaded, or being loaded, by a reset. The source: drops what was given away, so
   * that the device can be used for something else. A device that runs is left alone.
   * @throws VfioError EBUSY: `id` was activated, or another hand-over is under way; what the reset threw
   */
  async discard(task: Task, id: string): Promise<void> {
    await this.#step(task, id, async () => {
      const outcome = this.outcomeOf(id);
      if (outcome === "activated")
        throw this.#error("EBUSY", `discard: hand-over ${id} was activated: it runs`);
      if (outcome !== undefined) return;
      const current = this.#assertFree(id);
      const { migration, device } = this;
      const loading = migration.imageLoaded || migration.state === MigrationState.RESUMING;
      // Under stateMutex, so that no other step comes between. A reset never waits for stateMutex.
      if (current ? !this.#wasReset(current) : loading) await device.reset(task, "sysfs");
      this.#end(id, "discarded");
      if (current) await migration.resetRecord(task);
    });
  }

  /**
   * The source, the commit point: the device is stopped for good, until `takeBack`.
   * @param to the target's name, for whoever asks later
   * @throws VfioError ECANCELED: it is not as its image has it, for a reset or its client's end came between; or `id` was
   *   taken back. EINVAL: `id` was not made for a hand-over from here. EBUSY: another one is under way
   */
  async give(task: Task, id: string, to?: string): Promise<void> {
    await this.#step(task, id, async (aborted) => {
      if (this.#assertFree(id, "given")) return;
      this.#refuseEnded(id, "give");
      if (!isFrom(id, this.instance))
        throw this.#error("EINVAL", `give: id ${id} does not begin with the device's ${this.instance}`);
      const { migration } = this;
      const assertSaved = () => {
        if (migration.imageSaved) return;
        const state = migrationStateName(migration.state);
        throw this.#error("ECANCELED", `give in ${state}: it has no image, or was reset since it was made`);
      };
      assertSaved();
      await migration.goTo(task, MigrationState.STOP, aborted);
      assertSaved(); // a reset after the arc: this check and what follows are one step
      this.#begin("given", id, to);
    });
  }

  /**
   * The source: undoes `give`, and runs. Only when the target certainly has not been activated. Before `give`, it makes
   * sure that one that comes late is refused.
   * @throws VfioError EBUSY: another hand-over is under way; ECANCELED: `id` has ended otherwise; what the device throws
   *   if it cannot run: it is still given
   */
  async takeBack(task: Task, id: string): Promise<void> {
    await this.#step(task, id, async (aborted) => {
      if (this.outcomeOf(id) === "taken back") return;
      this.#refuseEnded(id, "take back");
      const current = this.#assertFree(id, "given");
      const ran = current && (await this.#run(task, aborted));
      this.#end(id, "taken back");
      // A reset has overtaken it: the device runs all the same, as after any reset.
      if (ran === false) await this.migration.resetRecord(task);
    });
  }

  async #step(task: Task, id: string, step: (aborted: AbortSignal) => void | Promise<void>): Promise<void> {
    checkHandOverId(id);
    await this.migration.exclusively(task, step);
  }

  /** From here on, only a step of this hand-over makes the device run. The device is in STOP. */
  #begin(phase: "prepared" | "given", id: string, to?: string): void {
    this.device.holdFunction();
    this.migration.held = true;
    this.#current.value = {
      phase,
      id,
      generation: this.device.generation,
      to,
      since: new Date().toISOString(),
    };
  }

  #end(id: string, outcome: HandOverOutcome): void {
    if (this.#current.value) {
      this.device.releaseFunction();
      this.migration.held = false;
      this.#current.value = undefined;
    }
    if (this.#outcomes.size === REMEMBERED) this.#outcomes.delete(this.#outcomes.keys().next().value!);
    this.#outcomes.set(id, outcome);
  }

  /** STOP -> RUNNING. @returns false: a reset has overtaken it; throws: it is still stopped, and can be tried again */
  async #run(task: Task, aborted: AbortSignal): Promise<boolean> {
    const { device, migration } = this;
    const { generation } = device;
    try {
      await migration.goTo(task, MigrationState.RUNNING, aborted);
      if (device.generation !== generation) return false; // a reset after the arc: this and what follows are one step
      try {
        device.releaseFunction(); // last, so that no reset makes it run before the hand-over has ended
      } catch (error) {
        await migration.goTo(task, MigrationState.STOP, aborted);
        throw error;
      }
      return true;
    } catch (error) {
      if (device.generation !== generation) return false;
      throw error;
    }
  }

  /** @returns the hand-over under way, if it is `id`, in `phase`. @throws VfioError EBUSY: another one is */
  #assertFree(id: string, phase?: "prepared" | "given"): Current | undefined {
    const current = this.#current.value;
    if (!current || (current.id === id && (phase === undefined || current.phase === phase))) return current;
    const other = current.id === id ? `hand-over ${id}` : `hand-over ${id}: another one, ${current.id},`;
    throw this.#error("EBUSY", `${other} is under way: the device is ${current.phase}`);
  }

  /** @throws VfioError ECANCELED */
  #refuseEnded(id: string, step: string): void {
    const outcome = this.outcomeOf(id);
    if (outcome !== undefined) throw this.#error("ECANCELED", `${step}: hand-over ${id} is over: ${outcome}`);
  }

  #wasReset(current: Current): boolean {
    return current.generation !== this.device.generation;
  }

  #lost(id: string): VfioError {
    return this.#error("ECANCELED", `hand-over ${id}: a reset has dropped the image that was loaded`);
  }

  #error(code: "ECANCELED" | "EBUSY" | "EINVAL", message: string): VfioError {
    return new VfioError(code, `${this.device.name}: ${message}`);
  }
}
