import { VfioError } from "../errno.js";

/** What a device's code has thrown so far. */
export interface FaultReport {
  /** Exceptions since the device was made. */
  readonly count: number;
  /** Too many since the last reset: registers answer EIO and the function is stopped, until the next one. */
  readonly failed: boolean;
  /** The last one: the method, and what it threw. */
  readonly last?: string;
}

export interface FaultOptions {
  /** Exceptions since the last reset after which the device has failed: 1 or more. Default: 100. */
  readonly maxFaults?: number;
  /** Hears of each kind of exception once, with its stack, and of the device's failure. */
  readonly onFault?: (message: string) => void;
}

const DEFAULT_MAX_FAULTS = 100;
/** Kinds of exceptions that are told of with their stack. A device could think of a new message for each. */
const MAX_KINDS = 100;

/**
 * Exceptions of a device's own code: a bug in it, which a guest may be able to meet as often as it likes. Each fails what
 * met it, and is counted; none ends the process.
 */
export class DeviceFaults {
  readonly #kinds = new Set<string>();
  readonly #limit: number;
  #count = 0;
  #sinceReset = 0;
  #failed = false;
  #last: string | undefined;

  /**
   * @param onFailure called when there have been too many
   * @throws VfioError EINVAL
   */
  constructor(
    private readonly device: string,
    { maxFaults = DEFAULT_MAX_FAULTS, onFault = () => undefined }: FaultOptions,
    private readonly onFailure: () => void,
  ) {
    if (!(maxFaults >= 1)) throw new VfioError("EINVAL", `maxFaults ${maxFaults}: 1 or more`);
    this.#limit = maxFaults;
    this.report = onFault;
  }

  private readonly report: (message: string) => void;

  get failed(): boolean {
    return this.#failed;
  }

  status(): FaultReport {
    return {
      count: this.#count,
      failed: this.#failed,
      ...(this.#last !== undefined && { last: this.#last }),
    };
  }

  /**
   * Takes what a method of the device threw.
   * @returns what the access is answered: the device's own VfioError, which is no fault, or EIO
   */
  caught(method: string, error: unknown): VfioError {
    if (error instanceof VfioError) return error;
    const message = error instanceof Error ? error.message : String(error);
    this.#last = `${method}: ${message}`;
    this.#count++;
    this.#sinceReset++;
    this.#tell(method, error);
    if (this.#sinceReset >= this.#limit) this.#fail();
    return new VfioError("EIO", `${this.device}: ${this.#last}`);
  }

  /** As `caught`, for what nobody waits for: there a VfioError is a fault, too. */
  escaped(method: string, error: unknown): void {
    this.caught(method, error instanceof VfioError ? new Error(error.message, { cause: error }) : error);
  }

  /** @throws VfioError EIO: there have been too many */
  check(): void {
    if (this.#failed) throw new VfioError("EIO", `${this.device}: failed (${this.#last}); a reset may help`);
  }

  reset(): void {
    this.#sinceReset = 0;
    this.#failed = false;
  }

  /** What `callback` throws, or rejects with, is a fault of the device. */
  guard<A extends unknown[]>(
    method: string,
    callback: (...args: A) => void | Promise<void>,
  ): (...args: A) => void {
    return (...args) => {
      try {
        this.watch(method, callback(...args));
      } catch (error) {
        this.escaped(method, error);
      }
    };
  }

  /** A method that should be synchronous may have returned a promise all the same: its rejection is a fault. */
  watch(method: string, result: unknown): void {
    if (result instanceof Promise) result.catch((error: unknown) => this.escaped(method, error));
  }

  #tell(method: string, error: unknown): void {
    if (this.#kinds.has(this.#last!) || this.#kinds.size >= MAX_KINDS) return;
    this.#kinds.add(this.#last!);
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.report(`${this.device}: an exception in ${method}, told once: ${stack}`);
  }

  #fail(): void {
    if (this.#failed) return;
    this.#failed = true;
    const since = `${this.#sinceReset} exceptions since its last reset`;
    this.report(`${this.device}: failed after ${since}: it answers EIO until it is reset`);
    this.onFailure();
  }
}
