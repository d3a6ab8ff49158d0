import { Mutex, Shared, type Task } from "@vfiokit/lockdep";

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

/**
 * One transfer of a device's image (Linux: the data fd and its `migf`).
 * It carries the generation that it was made in: a session older than its device is dead.
 */
export class DataSession {
  /** Linux: migf->lock. */
  readonly lock = new Mutex("session.lock");
  readonly #closed = new Shared("session.closed", false);

  constructor(
    readonly generation: number,
    readonly data: SessionData,
  ) {}

  get closed(): boolean {
    return this.#closed.value;
  }

  /** Whoever is in it now finds that out when it is done: there is nothing to wait for. */
  close(): void {
    this.#closed.value = true;
  }
}
