import { VfioError } from "@vfiokit/core";
import { reactor, readFd, WOULD_BLOCK, writeFd, type Fd, type Watch } from "../linux/index.js";

const NEWLINE = 0x0a;

/** Lines over a socket, read and written one at a time: what is not asked for stays in the kernel. */
export class LineSocket implements Disposable {
  readonly #watch: Watch;
  readonly #gone = new AbortController();
  readonly #buffer: Uint8Array;
  #length = 0;
  #eof = false;
  /** Who waits for bytes, or for room. */
  #wake: () => void = () => undefined;

  /**
   * @param fd a connected socket, non-blocking; the line socket's from here on, and closed where this throws
   * @param maxLine bytes of a line that is read, without its newline
   * @param withinMs how long the peer may take for a line that it has begun, and to read one. Then it is closed.
   *   Default: as long as it likes
   */
  constructor(
    private readonly fd: Fd,
    private readonly maxLine: number,
    private readonly withinMs?: number,
  ) {
    this.#buffer = new Uint8Array(maxLine + 1);
    this.#watch = reactor.take(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.#woken(),
      onHangup: () => this.close(),
    });
    this.#watch.setReadable(false);
  }

  /** Aborted when the peer is gone, and by `close`. A peer that only sends nothing more is not gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /**
   * The next line, without its newline: valid until the next call. Undefined at the end of the stream; bytes that end
   * without a newline are a line.
   * @throws VfioError EMSGSIZE: it is longer than `maxLine`
   */
  async readLine(): Promise<Uint8Array | undefined> {
    let deadline: NodeJS.Timeout | undefined;
    try {
      return await this.#readLine(() => (deadline ??= this.#startDeadline()));
    } finally {
      clearTimeout(deadline);
    }
  }

  /** @param onBegun called while there is a part of a line */
  async #readLine(onBegun: () => void): Promise<Uint8Array | undefined> {
    while (!this.gone.aborted) {
      const end = this.#buffer.subarray(0, this.#length).indexOf(NEWLINE);
      if (end >= 0) return this.#take(end, end + 1);
      if (this.#length > this.maxLine)
        throw new VfioError("EMSGSIZE", `a line has at most ${this.maxLine} bytes`);
      if (this.#eof) return this.#length > 0 ? this.#take(this.#length) : undefined;
      if (this.#length > 0) onBegun();
      this.#watch.setReadable(true);
      await this.#change();
    }
    return undefined;
  }

  /** Fulfilled once the kernel has all of it. @throws VfioError EPIPE: the peer is gone */
  async writeLine(text: string): Promise<void> {
    const deadline = this.#startDeadline();
    try {
      await this.#write(new TextEncoder().encode(`${text}\n`));
    } finally {
      clearTimeout(deadline);
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      if (this.gone.aborted) throw new VfioError("EPIPE", "the peer closed the connection");
      const count = this.#try(() => writeFd(this.fd, bytes.subarray(done)));
      if (count !== WOULD_BLOCK) {
        done += count;
        continue;
      }
      this.#watch.setWritable(true);
      await this.#change();
      this.#watch.setWritable(false);
    }
  }

  close(): void {
    if (this.gone.aborted) return;
    this.#watch.remove();
    this.fd.close();
    this.#gone.abort(new VfioError("ECANCELED", "the peer closed the connection"));
    this.#woken();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #startDeadline(): NodeJS.Timeout | undefined {
    return this.withinMs === undefined ? undefined : setTimeout(() => this.close(), this.withinMs);
  }

  #onReadable(): boolean {
    const count = this.#try(() => readFd(this.fd, this.#buffer.subarray(this.#length)));
    if (count === WOULD_BLOCK) return false;
    if (count === 0) this.#eof = true;
    this.#length += count;
    this.#watch.setReadable(false);
    this.#woken();
    return true;
  }

  /** An error of the socket is its end. */
  #try(transfer: () => number): number {
    try {
      return transfer();
    } catch {
      this.close();
      return WOULD_BLOCK;
    }
  }

  #take(length: number, consumed = length): Uint8Array {
    const line = this.#buffer.slice(0, length);
    this.#buffer.copyWithin(0, consumed, this.#length);
    this.#length -= consumed;
    return line;
  }

  #change(): Promise<void> {
    return this.gone.aborted ? Promise.resolve() : new Promise((resolve) => (this.#wake = resolve));
  }

  #woken(): void {
    reactor.yield(); // what was waited for runs in a microtask
    this.#wake();
  }
}
