import { Mutex, Shared, type Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import { migrationStateName, type MigrationState } from "./fsm.js";

/** What a session moves: the saving side reads, the loading side writes. */
export interface SessionData {
  /** Copies the next bytes of the image and returns how many; 0 at its end. One that waits ends with `task.signal`. */
  read?(into: Uint8Array, task: Task): number | Promise<number>;
  /**
   * Takes the next bytes of the image. One that waits ends with `task.signal`.
   * @throws VfioError when they cannot belong to one
   */
  write?(from: Uint8Array, task: Task): void | Promise<void>;
}

/** The migration that a session belongs to. */
export interface SessionOwner {
  /** As any observer sees it. */
  readonly state: MigrationState;
  /** The generation that its record was made in. */
  readonly generation: number;
  /** The generation that a session must have been made in to be of use. */
  readonly presentGeneration: number;
}

/**
 * One transfer of a device's image (Linux: the data fd and its `migf`).
 * It carries the generation that it was made in: a session older than its device is dead.
 */
export class DataSession {
  /** Linux: migf->lock. */
  readonly lock = new Mutex("session.lock");
  readonly #closed = new Shared("session.closed", false);
  readonly #generation: number;

  constructor(
    private readonly owner: SessionOwner,
    private readonly data: SessionData,
  ) {
    this.#generation = owner.generation;
  }

  get closed(): boolean {
    return this.#closed.value;
  }

  /** Neither a transition nor a reset has ended it. */
  get alive(): boolean {
    const present = this.owner.presentGeneration;
    return !this.closed && this.#generation >= present;
  }

  /** @throws VfioError ENODEV */
  assertAlive(): void {
    if (!this.alive)
      throw new VfioError("ENODEV", "this data session has ended: a reset or a transition closed it");
  }

  /** Whoever is in it now finds that out when it is done: there is nothing to wait for. */
  close(): void {
    this.#closed.value = true;
  }

  /** The next bytes of the image. @throws VfioError EINVAL: the session takes an image */
  read(into: Uint8Array, task: Task): number | Promise<number> {
    if (this.data.read) return this.data.read(into, task);
    const state = migrationStateName(this.owner.state);
    throw new VfioError("EINVAL", `read of the session in ${state}: it is being loaded`);
  }

  /** @throws VfioError EINVAL: the session gives an image */
  write(from: Uint8Array, task: Task): void | Promise<void> {
    if (this.data.write) return this.data.write(from, task);
    const state = migrationStateName(this.owner.state);
    throw new VfioError("EINVAL", `write to the session in ${state}: it is being saved`);
  }

  /** Runs `transfer` under the session's lock, while the session is alive. @throws VfioError ENODEV */
  exclusively<T>(task: Task, transfer: () => T | Promise<T>): T | Promise<T> {
    const wait = this.lock.lock(task);
    return wait ? wait.then(() => this.#transfer(task, transfer)) : this.#transfer(task, transfer);
  }

  #transfer<T>(task: Task, transfer: () => T | Promise<T>): T | Promise<T> {
    let transferring: Promise<T> | undefined;
    try {
      this.assertAlive();
      const result = transfer();
      if (!(result instanceof Promise)) return result;
      transferring = result;
      return this.#finishTransfer(task, transferring);
    } finally {
      if (!transferring) this.lock.unlock(task);
    }
  }

  async #finishTransfer<T>(task: Task, transferring: Promise<T>): Promise<T> {
    try {
      const result = await transferring;
      this.assertAlive(); // a reset in the middle: what was read may be of either image
      return result;
    } finally {
      this.lock.unlock(task);
    }
  }
}
