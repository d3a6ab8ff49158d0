import { VfioError } from "@vfiokit/core";
import { hasHungUp, reactor, SyscallError, WOULD_BLOCK, type Fd, type Watch } from "../linux/index.js";
import { Header } from "../wire/index.js";
import { Inbox } from "./inbox.js";
import { Outbox, type Fill, type Lent } from "./outbox.js";

export interface SocketEvents {
  /** Takes whole messages out of `inbox`, as many as may be taken now. @returns whether there were any */
  onMessages(): boolean;
  /** The peer reads again: whoever stopped because of it goes on. */
  onUnblocked?(): void;
  /**
   * The peer is gone (ECONNRESET), or broke the protocol (EPROTO, WireError), or took too long (ETIMEDOUT). EIO with a
   * cause: a bug of ours. Once, never after `stop` or `close`. Nothing more is received; last words can be sent, and
   * the socket is its owner's to close.
   */
  onEnd(reason: VfioError): void;
}

/** Bytes of a first message, which is VERSION, at most: whoever sends it has agreed on nothing yet. */
const MAX_FIRST = 4096;

/** Up to this many bytes a loop copies faster than a view of them is made. */
const SHORT = 64;

/**
 * One socket of vfio-user: what came, cut into messages with their descriptors, and what goes out. For accesses to
 * regions nothing is allocated: they are read in `inbox`, and written in `outbox`.
 */
export class MessageSocket {
  readonly inbox: Inbox;
  readonly outbox: Outbox;
  readonly #watch: Watch;
  #deadline: NodeJS.Timeout | undefined;
  #scheduled = false;
  #paused = false;
  #stopped = false;
  #closed = false;

  /**
   * @param fd a connected socket, non-blocking; this socket's from here on, and closed where this throws
   * @param name of the peer, in messages: "the client"
   * @param maxMessage largest message in either direction, header included
   * @param maxFds most descriptors that a message may have
   */
  constructor(
    private readonly fd: Fd,
    readonly name: string,
    private readonly maxMessage: number,
    maxFds: number,
    private readonly events: SocketEvents,
  ) {
    this.inbox = new Inbox(maxMessage, maxFds);
    this.outbox = new Outbox(fd, (blocked) => this.#onBlocked(blocked));
    this.#watch = reactor.take(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.flush(),
      onHangup: () => this.#end(new VfioError("ECONNRESET", `${this.name} went away`)),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The peer has gone, though that may not have been noticed yet. */
  get hungUp(): boolean {
    return this.#stopped || hasHungUp(this.fd);
  }

  /** The peer does not read: produce nothing more for now. */
  get blocked(): boolean {
    return this.outbox.blocked;
  }

  /**
   * Ends the connection if `expected` ("VERSION") has not come by then, or is longer than that ever is. Undefined: it has
   * come.
   */
  expect(expected: string, withinMs: number | undefined): void {
    clearTimeout(this.#deadline);
    this.inbox.maxMessage = withinMs === undefined ? this.maxMessage : Math.min(MAX_FIRST, this.maxMessage);
    if (withinMs === undefined) return;
    const late = new VfioError("ETIMEDOUT", `no ${expected} within ${withinMs} ms`);
    this.#deadline = setTimeout(() => this.#end(late), withinMs);
  }

  /** Sends a message, with descriptors that stay the caller's. @throws SyscallError EMFILE, and nothing is sent */
  send(message: Uint8Array, fds?: Lent): void {
    this.append(message, fds);
    this.flush();
  }

  /** `send`, for what goes out with the next `flush`. */
  append(message: Uint8Array, fds?: Lent): void {
    if (!this.#closed) this.outbox.append(message.length, (into) => into.set(message), fds);
  }

  /**
   * Sends a message that `fill` writes in place, before the event loop waits again: messages of one go leave in one
   * system call. @throws what `fill` throws; SyscallError EMFILE. Then nothing is sent
   */
  post(length: number, fill: Fill, fds?: Lent): void {
    if (this.#closed) return;
    this.outbox.append(length, fill, fds);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Appends the message at `head` in another inbox, under another id. Allocates nothing for a short one. */
  pass(from: Inbox, head: number, size: number, id: number): void {
    const at = this.outbox.reserve(size);
    const { bytes, view } = this.outbox.target;
    if (size <= SHORT) for (let i = 0; i < size; i++) bytes[at + i] = from.bytes[head + i]!;
    else bytes.set(from.bytes.subarray(head, head + size), at);
    view.setUint16(at + Header.offset.msg_id, id, true);
    this.outbox.commit();
  }

  flush(): void {
    if (this.#closed) return;
    try {
      this.outbox.flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Takes nothing more from the peer, until `wake`. */
  pause(): void {
    this.#paused = true;
    this.#watch.setReadable(false);
  }

  /** Messages that were left in the inbox may be taken now. */
  wake(): void {
    this.#paused = false;
    this.#watch.setReadable(true);
    this.#watch.wake();
  }

  /** Receives nothing more, and sends what the peer takes now. The peer sees no end before `close`. */
  stop(): void {
    this.#stop();
    try {
      if (!this.#closed) this.outbox.flush();
    } catch {
      // Nobody reads it any more.
    }
  }

  /** What was not sent is dropped, with its descriptors. */
  close(): void {
    if (this.#closed) return;
    this.#stop();
    this.#closed = true;
    this.inbox.close();
    this.outbox.close();
    this.fd.close();
  }

  #stop(): void {
    this.#stopped = true;
    clearTimeout(this.#deadline);
    this.#watch.remove();
  }

  #onReadable(): boolean {
    if (this.#paused) return false;
    try {
      const count = this.inbox.receive(this.fd);
      if (count === 0) throw new VfioError("ECONNRESET", `${this.name} closed the connection`);
      const taken = this.events.onMessages();
      if (this.#closed) return true;
      this.outbox.flush();
      // With no room left nothing can be received: `wake` goes on.
      if (!taken && this.inbox.full) this.#watch.setReadable(false);
      return taken || count !== WOULD_BLOCK;
    } catch (error) {
      this.#fail(error);
      return true;
    }
  }

  #onBlocked(blocked: boolean): void {
    if (this.#stopped) return;
    this.#watch.setWritable(blocked);
    if (!blocked) this.events.onUnblocked?.();
  }

  #fail(error: unknown): void {
    if (error instanceof SyscallError)
      this.#end(new VfioError("ECONNRESET", `${this.name} went away (${error.code})`));
    else if (error instanceof VfioError) this.#end(error);
    else {
      const bug = new VfioError("EIO", `a bug: ${error instanceof Error ? error.stack : String(error)}`);
      bug.cause = error;
      this.#end(bug);
    }
  }

  #end(reason: VfioError): void {
    if (this.#stopped) return;
    this.#stop();
    // Who waits for it goes on in a microtask.
    reactor.yield();
    this.events.onEnd(reason);
  }
}
