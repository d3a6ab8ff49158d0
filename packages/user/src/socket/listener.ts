import { reactor, UnixListener, type Fd, type Watch } from "../linux/index.js";
import type { Log } from "../server/options.js";

const RETRY_MS = 100;
/** A failure that lasts is told of this often. */
const LOG_EVERY_MS = 60_000;

/** Accepts connections at a path in the file system, for as long as it is open. */
export class Listener {
  readonly #listener: UnixListener;
  readonly #watch: Watch;
  #loggedAt = -Infinity;

  /**
   * Listens with mode 0600. A socket that a dead server left at the path is replaced.
   * @param onConnection takes the descriptor, which is non-blocking, and closes it where it throws
   * @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES …
   */
  constructor(
    path: string,
    private readonly log: Log,
    private readonly onConnection: (fd: Fd) => void,
  ) {
    this.#listener = new UnixListener(path);
    this.#watch = reactor.add(this.#listener.fd, { onReadable: () => this.#accept() });
  }

  /** Stops listening and removes the socket. */
  close(): void {
    this.#watch.remove();
    this.#listener.close();
  }

  #accept(): boolean {
    try {
      const fd = this.#listener.accept();
      if (fd) this.onConnection(fd);
      return fd !== undefined;
    } catch (error) {
      // EMFILE, ENOMEM …: whoever connects stays in the backlog. Trying again at once would be trying without end.
      const now = performance.now();
      if (now - this.#loggedAt >= LOG_EVERY_MS) {
        this.#loggedAt = now;
        this.log("warn", `${this.#listener.path}: a client cannot be accepted for now: ${String(error)}`);
      }
      this.#watch.setReadable(false);
      setTimeout(() => this.#watch.setReadable(true), RETRY_MS).unref();
      return false;
    }
  }
}
