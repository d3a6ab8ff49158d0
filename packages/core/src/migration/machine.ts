import { Mutex, Shared, type Task } from "@vfiokit/lockdep";
import type { DmaAddress, DmaAddressSpace } from "../dma/index.js";
import { VfioError } from "../errno.js";
import type { ResetStrategy } from "../reset/strategy.js";
import type { DeviceMigration } from "./device-migration.js";
import { MigrationState, hasSession, isSupported, migrationStateName, nextState } from "./fsm.js";
import type { MigrationOps, StreamLayout } from "./ops.js";
import type { PrecopyInfo } from "./precopy-writer.js";
import { DataSession, type SessionData } from "./session.js";

/** What a migration needs of its device. */
export interface MigratedDevice {
  readonly name: string;
  /** How many resets have really happened to it. */
  readonly generation: number;
}

/**
 * A device's migration state, its data session, and the transitions between states.
 *
 * The record (state and session) carries the generation of the device that it was made in. What a reset does to it
 * is the strategy's (reset/strategy.ts): by default, a record that is older than its device is dead.
 */
export class Migration implements DeviceMigration {
  readonly stateMutex = new Mutex("stateMutex");
  readonly #state = new Shared<MigrationState>("state", MigrationState.RUNNING);
  readonly #generation: Shared<number>;
  /** The open session, or the last one: it stays so that its reader learns that it is dead. */
  readonly #session = new Shared<DataSession | undefined>("session", undefined);
  /** A hand-over keeps the device in STOP: no client and no reset makes it run (hand-over.ts). */
  readonly #held = new Shared("held", false);
  /** Where the last arc to STOP came from. */
  #stoppedFrom: MigrationState = MigrationState.RUNNING;
  /** Of the transition under way. */
  readonly #abort = new Shared<AbortController | undefined>("abort", undefined);

  constructor(
    readonly device: MigratedDevice,
    private readonly ops: MigrationOps,
    private readonly strategy: ResetStrategy,
  ) {
    this.#generation = new Shared("record.generation", device.generation);
  }

  get flags(): number {
    return this.ops.flags;
  }

  /** The device's generation that the record was made in. */
  get generation(): number {
    return this.#generation.value;
  }

  /** As any observer sees it. */
  get state(): MigrationState {
    return this.strategy.isOutdated(this) ? this.#stateAfterReset : this.#state.value;
  }

  /** A complete image has been loaded, and nothing has changed the device since. */
  get imageLoaded(): boolean {
    return this.state === MigrationState.STOP && this.#stoppedFrom === MigrationState.RESUMING;
  }

  /** An image was saved, and the device is as the image has it. */
  get imageSaved(): boolean {
    const { state } = this;
    return (
      state === MigrationState.STOP_COPY ||
      (state === MigrationState.STOP && this.#stoppedFrom === MigrationState.STOP_COPY)
    );
  }

  get sessionOpen(): boolean {
    return this.#session.value?.alive === true;
  }

  get layout(): StreamLayout | undefined {
    return this.ops.migrationGetLayout?.();
  }

  dataSize(): number {
    return this.ops.migrationGetDataSize();
  }

  precopyInfo(): PrecopyInfo {
    const { state } = this;
    if (state !== MigrationState.PRE_COPY && state !== MigrationState.PRE_COPY_P2P)
      throw new VfioError("EINVAL", `precopy info in ${migrationStateName(state)}`);
    if (!this.ops.migrationGetPrecopyInfo)
      throw new VfioError("ENOTTY", `${this.device.name} has no precopy info`);
    return this.ops.migrationGetPrecopyInfo();
  }

  async setState(task: Task, target: MigrationState): Promise<void> {
    await this.exclusively(task, (signal) => {
      // VFIO uAPI: asking for the state that the device is in succeeds, and does nothing.
      if (!isSupported(target, this.flags)) nextState(this.#state.value, target, this.flags);
      if (this.#held.value && target !== this.#state.value) {
        const to = migrationStateName(target);
        throw new VfioError("EBUSY", `migration state ${to}: a hand-over keeps the device in STOP`);
      }
      return this.goTo(task, target, task.signal ? AbortSignal.any([signal, task.signal]) : signal);
    });
  }

  readData(task: Task, into: Uint8Array): number | Promise<number> {
    const session = this.#openSession();
    return session.exclusively(task, () => session.read(into, task));
  }

  /**
   * As `readData`, straight to the client's memory (Linux: read() of the data fd copies to the user, and may fault).
   * @throws VfioError as `readData`, and EFAULT, EACCES as DMA does
   */
  async readDataTo(task: Task, space: DmaAddressSpace, address: DmaAddress, size: number): Promise<number> {
    const session = this.#openSession();
    return session.exclusively(task, async () => {
      const bytes = new Uint8Array(size);
      const count = await session.read(bytes, task);
      await space.write(address, bytes.subarray(0, count), task);
      return count;
    });
  }

  writeData(task: Task, from: Uint8Array): void | Promise<void> {
    const session = this.#openSession();
    return session.exclusively(task, () => session.write(from, task));
  }

  /**
   * The client went away (Linux: the driver's close_device): an unfinished migration is abandoned, its image dropped, and
   * the device runs again, unless a hand-over keeps it in STOP. One with an image loaded stays stopped, too: two devices
   * must not run on one state. Out of that, and of ERROR, only a reset leads, which is the caller's.
   */
  async abandon(task: Task): Promise<void> {
    if (!this.#held.value)
      this.#abort.value?.abort(new VfioError("ECANCELED", "the client went away during the transition"));
    await this.#lock(task);
    try {
      await this.strategy.entered(this, task);
      this.#session.value?.close();
      this.#session.value = undefined;
      const { RUNNING, RESUMING, ERROR } = MigrationState;
      // It holds a part of an image: nothing that it could run on.
      if (this.#state.value === RESUMING && this.ops.migrationImageStarted?.()) this.#state.value = ERROR;
      // The device that a loaded image was made of may run elsewhere.
      const mustNotRun = this.#held.value || this.imageLoaded;
      if (!mustNotRun && this.#state.value !== RUNNING && this.#state.value !== ERROR)
        await this.resetRecord(task);
    } finally {
      await this.strategy.unlock(this, task);
    }
  }

  /** @internal The generation that a session must have been made in to be of use. */
  get presentGeneration(): number {
    return this.strategy.isOutdated(this) ? this.device.generation : this.#generation.value;
  }

  // For the hand-over.

  /**
   * Runs `step` under stateMutex, on a record that is up to date.
   * @internal
   * @param step gets the signal that aborts when a reset overtakes it, or the client goes away
   */
  async exclusively(task: Task, step: (signal: AbortSignal) => void | Promise<void>): Promise<void> {
    await this.#lock(task);
    const abort = new AbortController();
    this.#abort.value = abort;
    try {
      await this.strategy.entered(this, task);
      await step(abort.signal);
    } finally {
      this.#abort.value = undefined;
      await this.strategy.unlock(this, task);
    }
  }

  /** @internal The arcs to `target`, until `signal` aborts. Under stateMutex. @throws as `setState` */
  async goTo(task: Task, target: MigrationState, signal: AbortSignal): Promise<void> {
    while (this.#state.value !== target)
      await this.#arc(task, nextState(this.#state.value, target, this.flags), signal);
  }

  /** @internal From here on only a hand-over makes the device run: neither a client nor a reset does. Under stateMutex. */
  set held(held: boolean) {
    this.#held.value = held;
  }

  // For the strategies.

  /** Stops the transition under way: its arc, and those that were to follow. Takes no lock. */
  abortArc(): void {
    this.#abort.value?.abort(
      new VfioError("ECANCELED", `${this.device.name} was reset during the transition`),
    );
  }

  /** Puts the record at RUNNING (at STOP during a hand-over), in the device's present generation, and lets the driver clean up. Under stateMutex. */
  async resetRecord(task: Task): Promise<void> {
    // One step: no observer sees the new generation with the old state.
    this.#generation.value = this.device.generation;
    this.#state.value = this.#stateAfterReset;
    this.#stoppedFrom = MigrationState.RUNNING;
    // For designs that come here without a reset: no generation tells. And without its lock: nobody waits for a client
    // that reads slowly.
    this.#session.value?.close();
    await this.ops.migrationResetState?.(task.signal);
  }

  /** Leaving the states that have a session: waits for whoever is in it (Linux: migf->lock). Under stateMutex. */
  async endSession(task: Task): Promise<void> {
    const session = this.#session.value;
    if (!session || session.closed) return;
    try {
      using _ = await session.lock.acquire(task);
    } finally {
      session.close(); // after a cancelled wait, too: the state has been left
    }
  }

  async #lock(task: Task): Promise<void> {
    const wait = this.stateMutex.lock(task);
    if (wait) await wait;
  }

  /** One arc, under stateMutex. A driver that is not there to hear of `signal` is not called any more. */
  async #arc(task: Task, to: MigrationState, signal: AbortSignal): Promise<void> {
    const from = this.#state.value;
    const overtaken = () =>
      new VfioError("ECANCELED", `a reset overtook ${migrationStateName(from)} -> ${migrationStateName(to)}`);
    signal.throwIfAborted(); // by a reset between two arcs, for one
    let data: SessionData | undefined;
    try {
      data = await this.ops.migrationSetState(from, to, signal);
    } catch (error) {
      if (this.strategy.isOutdated(this)) throw overtaken();
      this.#state.value = this.#stateAfterFailure();
      if (!hasSession(this.#state.value)) this.#session.value?.close(); // no image may come out of a device in ERROR
      throw error;
    }
    if (this.strategy.isOutdated(this)) throw overtaken();
    this.#state.value = to;
    if (to === MigrationState.STOP) this.#stoppedFrom = from;
    if (data) this.#session.value = new DataSession(this, data);
    else if (!hasSession(to)) await this.endSession(task);
  }

  get #stateAfterReset(): MigrationState {
    return this.#held.value ? MigrationState.STOP : MigrationState.RUNNING;
  }

  #stateAfterFailure(): MigrationState {
    try {
      const state = this.ops.migrationGetState();
      return isSupported(state, this.flags) ? state : MigrationState.ERROR;
    } catch {
      return MigrationState.ERROR; // the arc's failure is what the client hears of
    }
  }

  #openSession(): DataSession {
    const session = this.#session.value;
    if (!session)
      throw new VfioError(
        "EINVAL",
        `migration data in ${migrationStateName(this.state)}: no session is open`,
      );
    session.assertAlive();
    return session;
  }
}
