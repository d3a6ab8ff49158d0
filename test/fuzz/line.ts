import { Header, HEADER_SIZE } from "@vfiokit/user/wire";
import {
  reactor,
  Receiver,
  sendBytes,
  StableBuffer,
  WOULD_BLOCK,
  type Fd,
  type Watch,
} from "@vfiokit/user/linux";

const BUFFER_BYTES = 1 << 16;

export interface LineEvents {
  onMessage(bytes: Uint8Array, fds: readonly Fd[]): void;
  /** Once: the server has closed, or reset, the connection. */
  onEnd(): void;
}

/** One socket of a client that may say anything: what is given goes out as it is, what comes is cut into messages. */
export class RawLine {
  readonly #buffer = new StableBuffer(BUFFER_BYTES);
  readonly #receiver = new Receiver(this.#buffer);
  readonly #watch: Watch;
  #received: Uint8Array = new Uint8Array();
  #fds: Fd[] = [];
  #outgoing: { bytes: StableBuffer; at: number; fds: readonly number[] }[] = [];
  #drained: (() => void)[] = [];
  #deaf = false;
  /** Bytes that have moved, in either direction. */
  moved = 0;
  ended = false;

  constructor(
    readonly fd: Fd,
    private readonly events: LineEvents,
  ) {
    this.#watch = reactor.add(fd, {
      onReadable: () => this.#onReadable(),
      onWritable: () => this.#flush(),
      onHangup: () => this.#end(),
    });
  }

  /** Sends in one call, if there is room: what is left goes as soon as there is. @param fds stay the caller's */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (this.ended || bytes.length === 0) return;
    const buffer = new StableBuffer(bytes.length);
    buffer.bytes.set(bytes);
    this.#outgoing.push({ bytes: buffer, at: 0, fds });
    this.#flush();
  }

  /** Fulfilled when all is sent, or nobody is there to take it. */
  drained(): Promise<void> {
    if (this.#outgoing.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  setDeaf(deaf: boolean): void {
    if (this.ended || this.fd.closed || this.#deaf === deaf) return;
    this.#deaf = deaf;
    this.#watch.setReadable(!deaf);
    if (!deaf) this.#watch.wake();
  }

  close(): void {
    if (this.fd.closed) return;
    this.ended = true;
    this.#watch.remove();
    this.#receiver.close();
    for (const fd of this.#fds.splice(0)) fd.close();
    this.fd.close();
    this.#giveUp();
  }

  #flush(): void {
    try {
      for (let [first] = this.#outgoing; first; [first] = this.#outgoing) {
        const { bytes, at, fds } = first;
        const count = sendBytes(this.fd, bytes, at, bytes.bytes.length - at, fds);
        if (count === WOULD_BLOCK) {
          this.#watch.setWritable(true);
          return;
        }
        this.moved += count;
        first.at += count;
        first.fds = [];
        if (first.at === bytes.bytes.length) this.#outgoing.shift();
      }
      this.#watch.setWritable(false);
      this.#giveUp();
    } catch {
      // The server has closed. What it has said before that is still to be read.
      this.#giveUp();
      this.#watch.wake();
    }
  }

  #giveUp(): void {
    this.#outgoing = [];
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #onReadable(): boolean {
    if (this.#deaf) return false;
    let count: number;
    try {
      count = this.#receiver.receive(this.fd, 0, BUFFER_BYTES);
    } catch {
      count = 0;
    }
    if (count === WOULD_BLOCK) return false;
    if (count === 0) {
      this.#end();
      return true;
    }
    this.moved += count;
    const joined = new Uint8Array(this.#received.length + count);
    joined.set(this.#received);
    joined.set(this.#buffer.bytes.subarray(0, count), this.#received.length);
    this.#received = joined;
    if (this.#receiver.hasFds) this.#fds.push(...this.#receiver.takeFds().fds);
    this.#deliver();
    reactor.yield();
    return true;
  }

  #deliver(): void {
    while (this.#received.length >= HEADER_SIZE && !this.ended) {
      // A size that cannot be is what the header alone shows.
      const size = Math.max(HEADER_SIZE, Header.decode(this.#received).msg_size);
      if (this.#received.length < size) return;
      const message = this.#received.slice(0, size);
      this.#received = this.#received.slice(size);
      // They are of the message that holds the last byte that came with them.
      const fds = this.#received.length === 0 ? this.#fds.splice(0) : [];
      this.events.onMessage(message, fds);
      for (const fd of fds) fd.close();
    }
  }

  #end(): void {
    if (this.ended) return;
    this.ended = true;
    this.#watch.remove();
    this.#giveUp();
    reactor.yield();
    this.events.onEnd();
  }
}
