import { reactor, spareFd, UnixListener, type Fd, type Watch } from "../linux/index.js";
import type { Log } from "../server/options.js";

const RETRY_MS = 100;
/** A failure that lasts is told of this often. */
const LOG_EVERY_MS = 60_000;

/**
 * Accepts connections at a path in the file system, for as long as it is open. A process that has no descriptors left
 * serves one more, by a descriptor kept for that: an administrator can look what is going on. Others wait in the backlog.
 */
export class Listener {
  readonly #listener: UnixListener;
  readonly #watch: Watch;
  #spare: Fd | undefined;
  #loggedAt = -Infinity;

  /**
   * Listens with mode 0600. A socket that a dead server left at the path is replaced.
   * @param onConnection takes the descriptor, which is non-blocking; it is closed where this throws
   * @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES …
   */
  constructor(
    path: string,
    private readonly log: Log,
    private readonly onConnection: (fd: Fd) => void,
  ) {
    this.#listener = new UnixListener(path);
    try {
      this.#watch = reactor.add(this.#listener.fd, { onReadable: () => this.#accept() });
    } catch (error) {
      this.#listener.close();
      throw error;
    }
    this.#spare = spareFd();
  }

  /** Stops listening and removes the socket. */
  close(): void {
    this.#watch.remove();
    this.#listener.close();
    this.#spare?.close();
    this.#spare = undefined;
  }

  #accept(): boolean {
    let fd: Fd | undefined;
    try {
      fd = this.#next();
      if (fd) this.onConnection(fd);
      this.#spare ??= spareFd();
      return fd !== undefined;
    } catch (error) {
      fd?.close();
      // EMFILE, ENOMEM …: whoever connects stays in the backlog. Trying again at once would be trying without end.
      this.#tell(error);
      this.#watch.setReadable(false);
      setTimeout(() => this.#watch.setReadable(true), RETRY_MS).unref();
      return false;
    }
  }

  #next(): Fd | undefined {
    try {
      return this.#listener.accept();
    } catch (error) {
      if (!this.#spare) throw error;
      this.#spare.close();
      this.#spare = undefined;
      this.#tell(error);
      return this.#listener.accept();
    }
  }

  #tell(error: unknown): void {
    const now = performance.now();
    if (now - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = now;
    this.log("warn", `${this.#listener.path}: a client cannot be accepted for now: ${String(error)}`);
  }
}
