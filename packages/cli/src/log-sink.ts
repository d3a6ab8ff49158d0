import { writeSync } from "node:fs";
import { isWritable } from "@vfiokit/user/linux";

/** What a pipe takes whole when it takes anything (PIPE_BUF). */
const PIECE = 4096;

/**
 * Lines to a descriptor that may be a pipe which nobody reads: a log must not stop the service. What does not fit now is
 * dropped, and counted in the next line that does.
 */
export class LogSink {
  #dropped = 0;
  /** The end of the last line did not fit. */
  #torn = false;

  /** @param notice makes the line that tells how many were dropped, with its newline */
  constructor(
    private readonly fd: number,
    private readonly notice: (dropped: number) => string,
  ) {}

  /** @param line with its newline */
  write(line: string): void {
    if (this.#dropped > 0 && this.#put(this.notice(this.#dropped))) this.#dropped = 0;
    if (this.#dropped > 0 || !this.#put(line)) this.#dropped++;
  }

  /** @returns false: nothing of it was written, or not all */
  #put(line: string): boolean {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line);
    for (let done = 0; done < bytes.length;) {
      const count = this.#piece(bytes.subarray(done, done + PIECE));
      if (count === 0) {
        if (done > 0) this.#torn = true;
        return false;
      }
      done += count;
    }
    this.#torn = false;
    return true;
  }

  /** @returns how many bytes were taken */
  #piece(bytes: Uint8Array): number {
    if (!isWritable({ number: this.fd })) return 0;
    try {
      return writeSync(this.fd, bytes);
    } catch {
      return 0; // EPIPE, EAGAIN, ENOSPC …: nobody can be told
    }
  }
}
