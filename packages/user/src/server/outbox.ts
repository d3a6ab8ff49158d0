import { type Fd, sendBytes, StableBuffer, WOULD_BLOCK } from "../linux/index.js";

/**
 * Small messages are gathered up to this many bytes, which the kernel keeps in one piece (UNIX_SKB_FRAGS_SZ). So
 * none of them is cut, and a client that reads a header first gets all of it: QEMU gives up on half a header.
 */
const BATCH_BYTES = 32 * 1024;

/** Buffers of large messages that are kept for the next ones: the pages of a new one cost as much as its bytes. */
const SPARES = 2;

interface Queued {
  readonly buffer: StableBuffer;
  start: number;
  readonly end: number;
  /** Sent with the first byte, then forgotten. */
  fds: readonly number[];
}

/** What goes out on one socket: many messages a call while the peer reads, a queue while it does not. */
export class Outbox {
  readonly #fd: Fd;
  readonly #onBlocked: (blocked: boolean) => void;
  #batch = new StableBuffer(BATCH_BYTES);
  #batchEnd = 0;
  #queue: Queued[] = [];
  readonly #spares: StableBuffer[] = [];
  /** The message that `reserve` has made room for, until `commit` or `cancel`. */
  #reserved: { buffer: StableBuffer; at: number; length: number } | undefined;
  readonly #batchReservation: { buffer: StableBuffer; at: number; length: number };
  #blocked = false;
  /** Where `reserve` made room. */
  target: StableBuffer = this.#batch;

  /** @param onBlocked the peer has stopped reading, or reads again: then call `flush` when there is room */
  constructor(fd: Fd, onBlocked: (blocked: boolean) => void) {
    this.#fd = fd;
    this.#onBlocked = onBlocked;
    this.#batchReservation = { buffer: this.#batch, at: 0, length: 0 };
  }

  /** The peer does not read: produce nothing more. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /**
   * Makes room for a message of `length` bytes in `target`, to be written in place, and returns where. Ends with
   * `commit`, `cancel` or `detach`. Not while blocked. Allocates nothing for a small message.
   */
  reserve(length: number): number {
    if (this.#reserved) throw new Error("an outgoing message is being written already");
    if (length > BATCH_BYTES) {
      this.flush();
      this.target = this.#largeBuffer(length);
      this.#reserved = { buffer: this.target, at: 0, length };
      return 0;
    }
    if (this.#batchEnd + length > BATCH_BYTES) {
      this.flush();
      // Still not sent: the bytes stay where they are, in the queue, and a new batch begins.
      if (this.#batchEnd > 0) this.#newBatch();
    }
    const reservation = this.#batchReservation;
    reservation.buffer = this.target = this.#batch;
    reservation.at = this.#batchEnd;
    reservation.length = length;
    this.#reserved = reservation;
    return reservation.at;
  }

  /** The reserved message has been written: it goes out with the next `flush`. */
  commit(): void {
    const { buffer, at, length } = this.#reserved!;
    this.#reserved = undefined;
    if (buffer === this.#batch) this.#batchEnd = at + length;
    else this.#enqueue(buffer, at, length, []);
  }

  /** The reserved message is not sent. */
  cancel(): void {
    this.#reserved = undefined;
  }

  /**
   * The reserved message will be written later, while others go out: takes its bytes away from the outbox.
   * @returns what sends it once it has been written
   */
  detach(): () => void {
    const { buffer, at, length } = this.#reserved!;
    this.#reserved = undefined;
    if (buffer === this.#batch) this.#newBatch();
    return () => this.#enqueue(buffer, at, length, []);
  }

  /** Sends a message, and descriptors with it, which stay the caller's and must stay open until they are sent. */
  append(message: Uint8Array, fds: readonly number[] = []): void {
    const buffer = new StableBuffer(message.length);
    buffer.bytes.set(message);
    this.#enqueue(buffer, 0, message.length, fds);
  }

  /** Sends what the peer takes. @throws SyscallError EPIPE … */
  flush(): void {
    if (this.#queue.length > 0) this.#flushQueue();
    if (this.#queue.length === 0 && this.#batchEnd > 0 && !this.#reserved) this.#flushBatch();
    const blocked = this.#queue.length > 0 || (this.#batchEnd > 0 && !this.#reserved);
    if (blocked === this.#blocked) return;
    this.#blocked = blocked;
    this.#onBlocked(blocked);
  }

  #flushBatch(): void {
    const count = sendBytes(this.#fd, this.#batch, 0, this.#batchEnd);
    if (count === WOULD_BLOCK) return;
    if (count < this.#batchEnd) {
      // Cut in two after all: by a send buffer that somebody has made tiny.
      this.#newBatch();
      this.#queue[0]!.start = count;
    } else {
      this.#batchEnd = 0;
    }
  }

  #flushQueue(): void {
    let first: Queued | undefined;
    while ((first = this.#queue[0])) {
      const count = sendBytes(this.#fd, first.buffer, first.start, first.end - first.start, first.fds);
      if (count === WOULD_BLOCK) return;
      first.fds = [];
      first.start += count;
      if (first.start < first.end) continue;
      this.#queue.shift();
      if (first.buffer.bytes.length > BATCH_BYTES && this.#spares.length < SPARES)
        this.#spares.push(first.buffer);
    }
  }

  /** One that was sent, if it fits. */
  #largeBuffer(length: number): StableBuffer {
    const spare = this.#spares.pop();
    return spare && spare.bytes.length >= length ? spare : new StableBuffer(length);
  }

  /** Behind the batch: it was written before. */
  #enqueue(buffer: StableBuffer, start: number, length: number, fds: readonly number[]): void {
    if (this.#batchEnd > 0 && !this.#reserved) this.#newBatch();
    this.#queue.push({ buffer, start, end: start + length, fds });
  }

  #newBatch(): void {
    if (this.#batchEnd > 0) this.#queue.push({ buffer: this.#batch, start: 0, end: this.#batchEnd, fds: [] });
    this.#batch = new StableBuffer(BATCH_BYTES);
    this.#batchEnd = 0;
  }
}
