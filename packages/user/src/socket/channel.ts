import { reactor, type Fd } from "../linux/index.js";
import type { VfioError } from "@vfiokit/core";
import { protocolError } from "./errors.js";
import { MessageSocket } from "./message-socket.js";
import type { Fill, Lent } from "./outbox.js";

export interface ChannelEvents {
  /**
   * A whole message. `message` and `view` show the receive buffer: both are valid during the call only.
   * Takes ownership of `fds`. Whatever it throws ends the channel.
   */
  onMessage(message: Uint8Array, view: DataView, fds: Fd[]): void;
  /** The peer closed the socket, or broke the protocol; the channel is closed. Called once, never after `close`. */
  onEnd(reason: VfioError): void;
}

export interface ChannelOptions {
  /** The peer, in messages. */
  readonly name: string;
  /** Largest message to receive, in bytes. A longer one ends the channel. */
  readonly maxMessage: number;
  /** Most descriptors to receive with one message. More end the channel. */
  readonly maxFds: number;
}

/** Answers to the peer that it has not read. Beyond it the peer's next commands have to wait. */
const MAX_UNREAD_ANSWERS = 8 * 1024 * 1024;
const NO_FDS: Fd[] = [];

/** A socket whose messages are all taken when they come: what a client has, and a server for its own commands. */
export class Channel {
  readonly #socket: MessageSocket;
  #unreadAnswers = 0;
  #paused = false;

  /** Takes `fd`, a non-blocking stream socket. */
  constructor(
    fd: Fd,
    private readonly events: ChannelEvents,
    private readonly options: ChannelOptions,
  ) {
    this.#socket = new MessageSocket(fd, options.name, options.maxMessage, options.maxFds, {
      onMessages: () => this.#onMessages(),
      onEnd: (reason) => {
        this.close();
        events.onEnd(reason);
      },
    });
  }

  /** Sends a message: `MessageSocket.post`. */
  send(length: number, fill: Fill, fds?: Lent): void {
    this.#socket.post(length, fill, fds);
  }

  /** Calls back once the kernel has taken all that was sent up to now. Not after the channel's end. */
  whenSent(done: () => void): void {
    this.#socket.outbox.whenSent(done);
  }

  /** Sends a message that answers the peer. One that asks and does not read is not listened to any more. */
  answer(bytes: Uint8Array): void {
    const { length } = bytes;
    this.send(length, (into) => into.set(bytes));
    this.#unreadAnswers += length;
    this.#pause();
    this.whenSent(() => {
      this.#unreadAnswers -= length;
      this.#pause();
    });
  }

  /** Closes the socket. What was queued and not sent is dropped. */
  close(): void {
    this.#socket.close();
  }

  #pause(): void {
    const on = this.#unreadAnswers > MAX_UNREAD_ANSWERS;
    if (this.#paused === on) return;
    this.#paused = on;
    if (on) this.#socket.pause();
    else this.#socket.wake();
  }

  #onMessages(): boolean {
    const { inbox } = this.#socket;
    let any = false;
    for (let size; this.#isOpen() && (size = inbox.next()) > 0; any = true) {
      const message = inbox.message(size);
      this.events.onMessage(message, inbox.view, this.#takeFds(size));
      inbox.drop(size);
      // Who waits for it goes on in a microtask.
      reactor.yield();
    }
    // Those of a message that never ends.
    if (!this.#paused && inbox.heldFds > this.options.maxFds) throw this.#tooManyFds();
    return any;
  }

  #isOpen(): boolean {
    return !this.#socket.closed && !this.#paused;
  }

  #takeFds(size: number): Fd[] {
    const { inbox } = this.#socket;
    if (!inbox.hasFds) return NO_FDS.slice();
    const { fds, lost } = inbox.fdsOf(size);
    if (!lost && fds.length <= this.options.maxFds) return fds;
    for (const fd of fds) fd.close();
    throw this.#tooManyFds();
  }

  #tooManyFds(): VfioError {
    const rule = `max_msg_fds is ${this.options.maxFds}, and this process must have room for them`;
    return protocolError(`a message of ${this.options.name} has too many descriptors: ${rule}`);
  }
}
