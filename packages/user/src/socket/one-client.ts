import { Errno, VfioError } from "@vfiokit/core";
import { hasHungUp, peerCredentials, type Fd } from "../linux/index.js";
import type { Log } from "../server/options.js";
import { Command, encodeError, Header } from "../wire/index.js";
import { MessageSocket } from "./message-socket.js";

/** A client that is being served. */
export interface ServedClient {
  /** Settles when everything of it is released. Never rejects. */
  readonly closed: Promise<void>;
  /** It has gone, though not everything of it may be released yet. */
  isOver(): boolean;
}

export interface OneClientOptions {
  readonly log: Log;
  /** Takes the descriptor, which is closed where this throws. */
  readonly serve: (fd: Fd) => ServedClient;
  /** Why nobody can be served now, whoever is connected. */
  readonly unavailable?: () => string | undefined;
  /** Nobody is served any more, and nobody waits. */
  readonly onIdle?: () => void;
}

/** Clients that come while one is being released, or that are told that there is another one. */
const MAX_OTHERS = 64;
/** For a client that is turned away to say VERSION, in milliseconds. */
const VERSION_MS = 10_000;
/** A VERSION with all its capabilities is much shorter. */
const MAX_VERSION = 4096;

/**
 * Serves one client at a time. Others get EBUSY as the answer to their VERSION: QEMU aborts where the connection ends
 * instead. Those that come while the last one is being released wait, and the first of them that is still there is served.
 */
export class OneClient {
  #served: ServedClient | undefined;
  #waiting: Fd[] = [];
  readonly #refused = new Set<MessageSocket>();
  #closed = false;

  constructor(private readonly options: OneClientOptions) {}

  /** Takes the connection of a new client, which is closed where this throws. @throws SyscallError ENOMEM … */
  admit(fd: Fd): void {
    try {
      this.#admit(fd);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  #admit(fd: Fd): void {
    const why = this.options.unavailable?.();
    if (why !== undefined) this.#turnAway(fd, why);
    else if (!this.#served) this.#serve(fd);
    else if (this.#served.isOver()) this.#wait(fd);
    else this.#turnAway(fd, "another client is connected");
  }

  /** Turns away whoever waits. Who is served is its server's to end. */
  close(): void {
    this.#closed = true;
    for (const fd of this.#waiting.splice(0)) fd.close();
    for (const socket of this.#refused) socket.close();
    this.#refused.clear();
  }

  #serve(fd: Fd): void {
    const served = this.options.serve(fd);
    this.#served = served;
    void served.closed.then(() => this.#next());
  }

  #wait(fd: Fd): void {
    this.#waiting = this.#waiting.filter(isThere);
    if (this.#waiting.length >= MAX_OTHERS) this.#turnAway(fd, `${MAX_OTHERS} wait already`);
    else this.#waiting.push(fd);
  }

  #next(): void {
    this.#served = undefined;
    if (this.#closed) return;
    for (const fd of this.#waiting.splice(0).filter(isThere)) {
      try {
        this.admit(fd);
      } catch (error) {
        this.options.log("warn", `a client cannot be served: ${String(error)}`);
      }
    }
    // Set by `admit`, which the compiler does not see.
    if (!(this.#served as ServedClient | undefined)) this.options.onIdle?.();
  }

  #turnAway(fd: Fd, why: string): void {
    const { log } = this.options;
    log("warn", `process ${peerCredentials(fd).pid} was turned away: ${why}`);
    this.#refused.add(this.#refusal(fd));
    if (this.#refused.size <= MAX_OTHERS) return;
    const [oldest] = this.#refused;
    this.#end(oldest!);
  }

  /** Answers VERSION, and ends. */
  #refusal(fd: Fd): MessageSocket {
    const socket: MessageSocket = new MessageSocket(fd, "a client", MAX_VERSION, 1, {
      onMessages: () => {
        const { inbox } = socket;
        if (inbox.next() === 0) return false;
        const { view, head } = inbox;
        if (view.getUint16(head + Header.offset.cmd, true) !== Command.VERSION)
          throw new VfioError("EINVAL", "the first message is not VERSION");
        const id = view.getUint16(head + Header.offset.msg_id, true);
        socket.send(encodeError(Command.VERSION, id, Errno.EBUSY));
        this.#end(socket);
        return true;
      },
      onEnd: () => this.#end(socket),
    });
    socket.expect("VERSION", VERSION_MS);
    return socket;
  }

  #end(socket: MessageSocket): void {
    this.#refused.delete(socket);
    socket.close();
  }
}

/** Whether a client that waits is still there. One that is not is closed. */
function isThere(fd: Fd): boolean {
  if (!hasHungUp(fd)) return true;
  fd.close();
  return false;
}
