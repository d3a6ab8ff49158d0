/** One socket to the server: whole messages in, whole messages out, with their descriptors. */

import { VfioError } from "@vfiokit/core";
import { reactor, Receiver, StableBuffer, WOULD_BLOCK, type Fd, type Watch } from "../linux/index.js";
import { HEADER_SIZE, messageSize } from "../wire/index.js";
import { asVfioError, protocolError } from "./errors.js";
import { SendQueue } from "./send-queue.js";

export interface ChannelEvents {
  /**
   * A whole message. `message` and `view` show the receive buffer: both are valid during the call only.
   * Takes ownership of `fds`. Whatever it throws ends the channel.
   */
  onMessage(message: Uint8Array, view: DataView, fds: Fd[]): void;
  /** The socket is gone: the server closed it, or broke the protocol. Called once, never after `close`. */
  onEnd(reason: VfioError): void;
}

export interface ChannelOptions {
  /** Largest message to receive, in bytes. A longer one ends the channel. */
  readonly maxMessage: number;
  /** Most descriptors to receive with one message. More end the channel. */
  readonly maxFds: number;
}

/** Answers to the server that it has not read. Beyond it the server's next commands have to wait. */
const MAX_UNREAD_ANSWERS = 8 * 1024 * 1024;

export class Channel {
  readonly #in: StableBuffer;
  readonly #receiver: Receiver;
  readonly #watch: Watch;
  readonly #out: SendQueue;
  /** Received and not yet handled: from #start to #end in the buffer. */
  #start = 0;
  #end = 0;
  /** Descriptors that came with the message that holds the byte before `end`. */
  #inFds: { end: number; readonly fds: Fd[] }[] = [];
  #unreadAnswers = 0;
  #paused = false;
  #closed = false;

  /** Takes `fd`, a non-blocking stream socket. */
  constructor(
    private readonly fd: Fd,
    private readonly events: ChannelEvents,
    private readonly options: ChannelOptions,
  ) {
    this.#in = new StableBuffer(options.maxMessage);
    this.#receiver = new Receiver(this.#in);
    this.#out = new SendQueue(fd, {
      onBlocked: (blocked) => this.#watch.setWritable(blocked),
      onError: (error) => this.#fail(asVfioError(error)),
    });
    this.#watch = reactor.add(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.#out.flush(),
      onHangup: () => this.#fail(new VfioError("ECONNRESET", "the server closed the connection")),
    });
  }

  /** Queues a message: `SendQueue.send`. */
  send(length: number, fill: (into: Uint8Array, view: DataView) => void, fds?: readonly Fd[]): void {
    this.#out.send(length, fill, fds);
  }

  /** Calls back once the kernel has taken all that was sent up to now. Not after the channel's end. */
  whenSent(done: () => void): void {
    this.#out.whenSent(done);
  }

  /** Queues a message that answers the server. One that asks and does not read is not listened to any more. */
  answer(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#out.send(length, (into) => into.set(bytes));
    this.#unreadAnswers += length;
    if (this.#unreadAnswers > MAX_UNREAD_ANSWERS) this.#pause(true);
    this.#out.whenSent(() => {
      this.#unreadAnswers -= length;
      if (this.#unreadAnswers <= MAX_UNREAD_ANSWERS) this.#pause(false);
    });
  }

  /** Closes the socket. What was queued and not sent is dropped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.remove();
    this.#out.close();
    this.fd.close();
    this.#receiver.close();
    for (const { fds } of this.#inFds.splice(0)) closeAll(fds);
  }

  #fail(reason: VfioError): void {
    if (this.#closed) return;
    this.close();
    this.events.onEnd(reason);
  }

  #pause(on: boolean): void {
    if (this.#paused === on || this.#closed) return;
    this.#paused = on;
    this.#watch.setReadable(!on);
    // Messages may be left in the buffer.
    if (!on) this.#watch.wake();
  }

  #onReadable(): boolean {
    if (this.#paused) return false;
    try {
      this.#handle();
      return this.#isOpen() && this.#receive();
    } catch (error) {
      this.#fail(asVfioError(error));
      return true;
    }
  }

  #receive(): boolean {
    const count = this.#receiver.receive(this.fd, this.#end, this.#in.bytes.length - this.#end);
    if (count === WOULD_BLOCK) return false;
    if (count === 0) throw new VfioError("ECONNRESET", "the server closed the connection");
    this.#end += count;
    if (this.#receiver.hasFds) {
      const { fds, truncated } = this.#receiver.takeFds();
      this.#inFds.push({ end: this.#end, fds });
      if (truncated) throw new VfioError("EIO", "descriptors were lost: this process has too many open");
    }
    this.#handle();
    return true;
  }

  /** Handles the complete messages in the buffer. */
  #handle(): void {
    const { view, bytes } = this.#in;
    while (this.#isOpen() && this.#end - this.#start >= HEADER_SIZE) {
      const next = this.#start + messageSize(view, this.#start, this.options.maxMessage);
      if (next > this.#end) break;
      const message = bytes.subarray(this.#start, next);
      this.#start = next;
      this.events.onMessage(message, view, this.#takeFds(next));
      // Who waits for it goes on in a microtask.
      reactor.yield();
    }
    if (!this.#isOpen()) return;
    this.#checkFds(this.#inFds.reduce((total, { fds }) => total + fds.length, 0));
    this.#compact();
  }

  #isOpen(): boolean {
    return !this.#closed && !this.#paused;
  }

  /** The descriptors of the message that ends at `next`. */
  #takeFds(next: number): Fd[] {
    const own: Fd[] = [];
    while (this.#inFds.length && this.#inFds[0]!.end <= next) own.push(...this.#inFds.shift()!.fds);
    try {
      this.#checkFds(own.length);
    } catch (error) {
      closeAll(own);
      throw error;
    }
    return own;
  }

  #checkFds(count: number): void {
    const { maxFds } = this.options;
    if (count > maxFds) throw protocolError(`a message with ${count} descriptors: max_msg_fds is ${maxFds}`);
  }

  /** Moves the beginning of a message to the front, where all of it has room. */
  #compact(): void {
    if (this.#start === 0) return;
    if (this.#start < this.#end) this.#in.bytes.copyWithin(0, this.#start, this.#end);
    for (const batch of this.#inFds) batch.end -= this.#start;
    this.#end -= this.#start;
    this.#start = 0;
  }
}

function closeAll(fds: readonly Fd[]): void {
  for (const fd of fds) fd.close();
}
