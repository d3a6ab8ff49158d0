import { VfioError } from "@vfiokit/core";
import { reactor, SyscallError, WOULD_BLOCK, type Fd, type Watch } from "../linux/index.js";
import { Header, WireError } from "../wire/index.js";
import { Inbox } from "../server/inbox.js";
import { Outbox } from "../server/outbox.js";

export interface PortEvents {
  /** Takes whole messages out of `inbox`, as many as may be taken now. @returns whether there were any */
  onMessages(): boolean;
  /** The peer reads again: whoever stopped because of it goes on. */
  onUnblocked(): void;
  /** The peer is gone, or broke the protocol. Once, never after `close`. */
  onEnd(reason: VfioError): void;
}

/** Up to this many bytes a loop copies faster than a view of them is made. */
const SHORT = 64;

/** One socket of the relay: what came, cut into messages, and what goes out. */
export class Port {
  readonly inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #watch: Watch;
  /** Descriptors on their way out, ours until the kernel has them. */
  #lent: Fd[] = [];
  #closed = false;

  /**
   * @param fd a connected socket, the port's from here on
   * @param name of the peer, in messages
   * @param maxMessage largest message in either direction, header included
   */
  constructor(
    private readonly fd: Fd,
    private readonly name: string,
    maxMessage: number,
    maxFds: number,
    private readonly events: PortEvents,
  ) {
    this.inbox = new Inbox(maxMessage, maxFds);
    this.#outbox = new Outbox(fd, (blocked) => this.#onBlocked(blocked));
    this.#watch = reactor.add(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.flush(),
      onHangup: () => this.#end(new VfioError("ECONNRESET", `${this.name} went away`)),
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** The peer does not read: forward nothing to it for now. */
  get blocked(): boolean {
    return this.#outbox.blocked;
  }

  /** Sends the first message of `from`, of `size` bytes, under another id. Allocates nothing for a short one. */
  pass(from: Inbox, size: number, id: number): void {
    this.passAt(from, from.head, size, id);
  }

  /** `pass` for a message that is not the first. */
  passAt(from: Inbox, head: number, size: number, id: number): void {
    const at = this.#outbox.reserve(size);
    const { bytes, view } = this.#outbox.target;
    if (size <= SHORT) for (let i = 0; i < size; i++) bytes[at + i] = from.bytes[head + i]!;
    else bytes.set(from.bytes.subarray(head, head + size), at);
    view.setUint16(at + Header.offset.msg_id, id, true);
    this.#outbox.commit();
  }

  /** Sends a message with descriptors, which stay the caller's and stay open until the kernel has them. */
  send(message: Uint8Array, fds: readonly Fd[] = []): void {
    this.#outbox.append(
      message,
      fds.map(({ number }) => number),
    );
  }

  /** `send` for descriptors that are nobody's any more: closes them in time. */
  give(message: Uint8Array, fds: readonly Fd[]): void {
    this.send(message, fds);
    this.#lent.push(...fds);
  }

  /** What was sent since goes out. */
  flush(): void {
    if (this.#closed) return;
    try {
      this.#outbox.flush();
      if (!this.#outbox.blocked) this.#closeLent();
    } catch (error) {
      this.#end(reasonOf(error, this.name));
    }
  }

  /** Messages that were left in the inbox may be taken now. */
  wake(): void {
    this.#watch.setReadable(true);
    this.#watch.wake();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.remove();
    this.#closeLent();
    this.inbox.close();
    this.fd.close();
  }

  #onReadable(): boolean {
    try {
      const count = this.inbox.receive(this.fd);
      if (count === 0) throw new VfioError("ECONNRESET", `${this.name} closed the connection`);
      const taken = this.events.onMessages();
      // With no room left nothing can be received: `wake` goes on.
      if (this.#isOpen() && this.inbox.full) this.#watch.setReadable(false);
      return taken || count !== WOULD_BLOCK;
    } catch (error) {
      this.#end(reasonOf(error, this.name));
      return true;
    }
  }

  #isOpen(): boolean {
    return !this.#closed;
  }

  #onBlocked(blocked: boolean): void {
    if (this.#closed) return;
    this.#watch.setWritable(blocked);
    if (blocked) return;
    this.#closeLent();
    this.events.onUnblocked();
  }

  #closeLent(): void {
    if (this.#lent.length > 0) for (const fd of this.#lent.splice(0)) fd.close();
  }

  #end(reason: VfioError): void {
    if (this.#closed) return;
    this.close();
    // Who waits for it goes on in a microtask.
    reactor.yield();
    this.events.onEnd(reason);
  }
}

/** @throws whatever is no failure of the peer */
function reasonOf(error: unknown, name: string): VfioError {
  if (error instanceof SyscallError) return new VfioError("ECONNRESET", `${name} went away (${error.code})`);
  if (error instanceof WireError) return new VfioError("EPROTO", `${name}: ${error.message}`);
  if (error instanceof VfioError) return error;
  throw error;
}
