/** What waits to be sent over one socket. */

import { sendBytes, StableBuffer, WOULD_BLOCK, type Fd } from "../linux/index.js";

export interface SendQueueEvents {
  /** The socket is full: call `flush` when it is not; or not any more. */
  onBlocked(blocked: boolean): void;
  onError(error: unknown): void;
}

/** A message that carries descriptors: from stream position `at` to `end`. */
interface FdMark {
  readonly at: number;
  readonly end: number;
  readonly fds: readonly Fd[];
}

const FIRST_BUFFER = 64 * 1024;

export class SendQueue {
  /** Not yet taken by the kernel: from #start to #end in the buffer. */
  #buffer = new StableBuffer(FIRST_BUFFER);
  #start = 0;
  #end = 0;
  /** Bytes that the kernel has taken so far: the stream position of #start. */
  #sent = 0;
  readonly #marks: FdMark[] = [];
  readonly #waiters: { readonly at: number; readonly done: () => void }[] = [];
  #scheduled = false;
  #closed = false;

  /** `fd` stays the caller's. */
  constructor(
    private readonly fd: Fd,
    private readonly events: SendQueueEvents,
  ) {}

  /**
   * Queues a message, which is sent before the event loop waits again: messages queued in one go leave in one system
   * call. `fill` writes all of it to `into`. Descriptors are duplicated: the caller's may be closed at once.
   */
  send(length: number, fill: (into: Uint8Array, view: DataView) => void, fds: readonly Fd[] = []): void {
    if (this.#closed) return;
    this.#reserve(length);
    const into = this.#buffer.bytes.subarray(this.#end, this.#end + length);
    fill(into, this.#buffer.view);
    if (fds.length) {
      const at = this.#position();
      this.#marks.push({ at, end: at + length, fds: fds.map((one) => one.duplicate()) });
    }
    this.#end += length;
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.flush());
  }

  /** Calls back once the kernel has taken all that was sent up to now. Not after `close`. */
  whenSent(done: () => void): void {
    this.#waiters.push({ at: this.#position(), done });
  }

  flush(): void {
    this.#scheduled = false;
    if (this.#closed) return;
    try {
      while (this.#start < this.#end) {
        if (!this.#sendPiece()) {
          this.events.onBlocked(true);
          return;
        }
      }
      this.#start = this.#end = 0;
      this.events.onBlocked(false);
    } catch (error) {
      this.events.onError(error);
    }
  }

  /** Drops what is queued. */
  close(): void {
    this.#closed = true;
    for (const { fds } of this.#marks.splice(0)) for (const fd of fds) fd.close();
  }

  /** Stream position of the end of the queue. */
  #position(): number {
    return this.#sent + this.#end - this.#start;
  }

  /** Makes room for `length` more bytes. */
  #reserve(length: number): void {
    if (this.#end + length <= this.#buffer.bytes.length) return;
    const waiting = this.#buffer.bytes.subarray(this.#start, this.#end);
    let size = this.#buffer.bytes.length;
    while (size < waiting.length + length) size *= 2;
    const next = size > this.#buffer.bytes.length ? new StableBuffer(size) : this.#buffer;
    next.bytes.set(waiting);
    this.#buffer = next;
    this.#end = waiting.length;
    this.#start = 0;
  }

  /** A message with descriptors goes alone: a receiver cannot tell otherwise whose they are. */
  #sendPiece(): boolean {
    const mark = this.#marks[0];
    let length = this.#end - this.#start;
    let fds: number[] | undefined;
    if (mark?.at === this.#sent) {
      length = mark.end - mark.at;
      fds = mark.fds.map((fd) => fd.number);
    } else if (mark) length = Math.min(length, mark.at - this.#sent);
    const count = sendBytes(this.fd, this.#buffer, this.#start, length, fds);
    if (count === WOULD_BLOCK) return false;
    if (fds) for (const fd of this.#marks.shift()!.fds) fd.close();
    this.#start += count;
    this.#sent += count;
    while (this.#waiters.length && this.#waiters[0]!.at <= this.#sent) this.#waiters.shift()!.done();
    return true;
  }
}
