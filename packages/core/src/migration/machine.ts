import { Mutex, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import { MigrationState, hasSession, migrationStateName, nextState } from "./fsm.js";
import type { MigrationOps } from "./ops.js";
import type { DataSession } from "./session.js";

/** The device's generation: how many resets have really happened to it. */
export interface Generation {
  readonly generation: number;
}

/**
 * A device's migration state and its transitions.
 *
 * The `generation` design: a reset only increments the device's generation, under memoryLock and without any lock
 * of ours. The state and the session carry the generation that they were made in; what is older than the device is
 * dead. Whoever holds stateMutex brings the record up to date on entry and before letting go, so a reset never
 * waits for a migration and a migration never keeps a reset's consequences from being seen.
 */
export class Migration {
  readonly stateMutex = new Mutex("stateMutex");
  #state: MigrationState = MigrationState.RUNNING;
  #generation: number;
  /** The open session, or the last one: it stays so that its reader learns that it is dead. */
  #session: DataSession | undefined;
  /** Of the arc under way. */
  #abort: AbortController | undefined;

  constructor(
    private readonly device: Generation,
    private readonly ops: MigrationOps,
  ) {
    this.#generation = device.generation;
  }

  /** MigrationFlags of the device. */
  get flags(): number {
    return this.ops.flags;
  }

  /** As any observer sees it: RUNNING as soon as a reset has happened. */
  get state(): MigrationState {
    return this.#isStale() ? MigrationState.RUNNING : this.#state;
  }

  /** Estimated bytes of a STOP_COPY image. */
  dataSize(): number {
    return this.ops.migrationGetDataSize();
  }

  /**
   * Goes to `target` by the shortest path of arcs (VFIO uAPI: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE).
   * On failure the device stays where the last finished arc left it; `state` tells.
   * @throws VfioError EINVAL for a pair without a path, ECANCELED when a reset overtook it, or what the driver says
   */
  async setState(task: Task, target: MigrationState): Promise<void> {
    const wait = this.stateMutex.lock(task);
    if (wait) await wait;
    try {
      while (this.#isStale()) await this.#reconcile(task);
      while (this.#state !== target) await this.#arc(task, nextState(this.#state, target, this.flags));
    } finally {
      await this.#unlock(task);
    }
  }

  /**
   * Reads the next bytes of the image into `into` and returns how many; 0 at its end.
   * @throws VfioError EINVAL without a session to read from, ENODEV when the session is dead
   */
  readData(task: Task, into: Uint8Array): number | Promise<number> {
    const session = this.#openSession();
    const { data } = session;
    if (!data.read)
      throw new VfioError(
        "EINVAL",
        `read of a session in ${migrationStateName(this.state)}: it is being loaded`,
      );
    return this.#withSession(task, session, () => data.read!(into));
  }

  /**
   * Takes the next bytes of the image.
   * @throws VfioError EINVAL without a session to write to, ENODEV when the session is dead
   */
  writeData(task: Task, from: Uint8Array): void | Promise<void> {
    const session = this.#openSession();
    const { data } = session;
    if (!data.write)
      throw new VfioError(
        "EINVAL",
        `write to a session in ${migrationStateName(this.state)}: it is being saved`,
      );
    return this.#withSession(task, session, () => data.write!(from));
  }

  /** A reset has incremented the generation, under memoryLock: stop the arc under way. Takes no lock. */
  abortArc(): void {
    this.#abort?.abort(new VfioError("ECANCELED", "the device was reset during the transition"));
  }

  /**
   * A reset has released its memoryLocks: tidy up now if nobody holds stateMutex; its holder does it otherwise,
   * before it lets go or starts another arc.
   */
  async afterReset(task: Task): Promise<void> {
    if (this.stateMutex.tryLock(task)) await this.#unlock(task);
  }

  /**
   * The client went away: an unfinished migration is abandoned and its image dropped, the device runs again.
   * Only a reset leaves ERROR: the caller sees to that first.
   */
  async abandon(task: Task): Promise<void> {
    this.#abort?.abort(new VfioError("ECANCELED", "the client went away during the transition"));
    const wait = this.stateMutex.lock(task);
    if (wait) await wait;
    try {
      while (this.#isStale()) await this.#reconcile(task);
      if (this.#state !== MigrationState.RUNNING) await this.#backToRunning(task);
      this.#session = undefined;
    } finally {
      await this.#unlock(task);
    }
  }

  #isStale(): boolean {
    return this.#generation !== this.device.generation;
  }

  /** One arc, under stateMutex. */
  async #arc(task: Task, to: MigrationState): Promise<void> {
    const from = this.#state;
    const overtaken = () =>
      new VfioError("ECANCELED", `a reset overtook ${migrationStateName(from)} -> ${migrationStateName(to)}`);
    if (this.#isStale()) throw overtaken(); // between two arcs
    const abort = new AbortController();
    this.#abort = abort;
    let session: DataSession | undefined;
    try {
      session = await this.ops.migrationSetState(from, to, abort.signal);
    } catch (error) {
      if (!this.#isStale()) {
        if (!(error instanceof VfioError)) this.#state = MigrationState.ERROR;
        throw error;
      }
    } finally {
      this.#abort = undefined;
    }
    if (this.#isStale()) {
      session?.close();
      throw overtaken();
    }
    if (hasSession(from) && !hasSession(to)) await this.#closeSession(task);
    if (session) this.#session = session;
    this.#state = to;
  }

  /** Brings the record up to the device's generation, under stateMutex. */
  async #reconcile(task: Task): Promise<void> {
    this.#generation = this.device.generation;
    await this.#backToRunning(task);
  }

  async #backToRunning(task: Task): Promise<void> {
    await this.#closeSession(task);
    this.#state = MigrationState.RUNNING;
    await this.ops.migrationResetState?.();
  }

  /** Releases stateMutex. The last check and the release are one step: no reset can fall between them. */
  async #unlock(task: Task): Promise<void> {
    try {
      while (this.#isStale()) await this.#reconcile(task);
    } finally {
      this.stateMutex.unlock(task);
    }
  }

  async #closeSession(task: Task): Promise<void> {
    const session = this.#session;
    if (!session || session.closed) return;
    using _ = await session.lock.acquire(task);
    session.close();
  }

  #openSession(): DataSession {
    const session = this.#session;
    if (!session)
      throw new VfioError(
        "EINVAL",
        `migration data in ${migrationStateName(this.state)}: no session is open`,
      );
    this.#assertAlive(session);
    return session;
  }

  #assertAlive(session: DataSession): void {
    if (session.closed || session.generation !== this.device.generation) {
      throw new VfioError("ENODEV", "this data session has ended: a reset or a transition closed it");
    }
  }

  #withSession<T>(task: Task, session: DataSession, transfer: () => T): T | Promise<T> {
    const wait = session.lock.lock(task);
    if (wait) return wait.then(() => this.#transfer(task, session, transfer));
    return this.#transfer(task, session, transfer);
  }

  #transfer<T>(task: Task, session: DataSession, transfer: () => T): T {
    try {
      this.#assertAlive(session);
      return transfer();
    } finally {
      session.lock.unlock(task);
    }
  }
}
