import { openSync } from "node:fs";
import { check, libc } from "./libc.js";

const F_GETFL = 3;
const F_DUPFD_CLOEXEC = 1030;

let open = 0;

/** How many descriptors this module owns at the moment. For leak tests. */
export const openFds = (): number => open;

/** An owned file descriptor. Closed once, by `close` or at the end of a `using` scope. */
export class Fd implements Disposable {
  #number: number;

  /** Takes ownership of `number`. */
  constructor(number: number) {
    if (!Number.isInteger(number) || number < 0) throw new RangeError(`${number} is no file descriptor`);
    this.#number = number;
    open++;
  }

  /** @throws Error when it is closed: the number may be somebody else's by now. */
  get number(): number {
    if (this.#number < 0) throw new Error("the file descriptor is closed");
    return this.#number;
  }

  get closed(): boolean {
    return this.#number < 0;
  }

  /** How its file was opened, and is used: O_RDONLY, O_APPEND, O_NONBLOCK … (fcntl F_GETFL) */
  get statusFlags(): number {
    return check(libc.fcntl(this.number, F_GETFL, 0), "fcntl(F_GETFL)");
  }

  /** A second descriptor of the same open file. */
  duplicate(): Fd {
    return duplicate(this.number);
  }

  /** Gives the number away: it is no longer ours to close. */
  release(): number {
    const { number } = this;
    this.#number = -1;
    open--;
    return number;
  }

  /** Closing twice does nothing. */
  close(): void {
    if (this.#number < 0) return;
    // Linux frees the number even when close reports an error, so the result says nothing useful.
    libc.close(this.#number);
    this.#number = -1;
    open--;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A descriptor of nothing, to be closed when another one is needed badly. Undefined: there is none left. */
export function spareFd(): Fd | undefined {
  try {
    return new Fd(openSync("/dev/null", "r"));
  } catch {
    return undefined;
  }
}

function duplicate(number: number): Fd {
  return new Fd(check(libc.fcntl(number, F_DUPFD_CLOEXEC, 0), "fcntl(F_DUPFD_CLOEXEC)"));
}

/** Second descriptors of all of these, or of none. @throws SyscallError EMFILE … */
export function duplicateAll(fds: readonly { readonly number: number }[]): Fd[] {
  const duplicates: Fd[] = [];
  try {
    for (const { number } of fds) duplicates.push(duplicate(number));
    return duplicates;
  } catch (error) {
    for (const fd of duplicates) fd.close();
    throw error;
  }
}
