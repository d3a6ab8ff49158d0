import { duplicateAll, type Fd, sendBytes, StableBuffer, WOULD_BLOCK } from "../linux/index.js";

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
  /** Ours: sent with the first byte, then closed. */
  readonly fds: Fd[];
  /** Who wants to know when it was sent. */
  sent: (() => void)[] | undefined;
}

/** Descriptors to send: they are duplicated, and stay the caller's. */
export type Lent = readonly { readonly number: number }[];
export type Fill = (into: Uint8Array, view: DataView) => void;

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
  #batchSent: (() => void)[] | undefined;
  #blocked = false;
  /** Why nothing goes out any more: found when nobody could be told. */
  #failure: Error | undefined;
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
   * `commit`, `cancel` or `detach`. Allocates nothing for a small message.
   */
  reserve(length: number): number {
    if (this.#reserved) throw new Error("an outgoing message is being written already");
    if (length > BATCH_BYTES) {
      this.#makeRoom();
      this.target = this.#largeBuffer(length);
      this.#reserved = { buffer: this.target, at: 0, length };
      return 0;
    }
    if (this.#batchEnd + length > BATCH_BYTES) {
      this.#makeRoom();
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
    else this.#enqueue(buffer, at, length);
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
    return () => this.#enqueue(buffer, at, length);
  }

  /**
   * Has `fill` write a message of `length` bytes, which goes out with the next `flush`. One with descriptors goes alone:
   * a receiver cannot tell otherwise whose they are.
   * @throws SyscallError EMFILE; what `fill` throws. Then nothing is sent
   */
  append(length: number, fill: Fill, lent: Lent = []): void {
    if (lent.length > 0 || this.#reserved) {
      const buffer = new StableBuffer(length);
      fill(buffer.bytes, buffer.view);
      this.#enqueue(buffer, 0, length, duplicateAll(lent));
      return;
    }
    const at = this.reserve(length);
    try {
      fill(this.target.bytes.subarray(at, at + length), this.target.view);
    } catch (error) {
      this.cancel();
      throw error;
    }
    this.commit();
  }

  /** Calls back once the kernel has all that was appended up to now. */
  whenSent(done: () => void): void {
    const last = this.#queue.at(-1);
    if (this.#batchEnd > 0) (this.#batchSent ??= []).push(done);
    else if (last) (last.sent ??= []).push(done);
    else done();
  }

  /** Drops what was not sent. */
  close(): void {
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) fd.close();
  }

  /** Sends what the peer takes. @throws SyscallError EPIPE … */
  flush(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#queue.length > 0) this.#flushQueue();
    if (this.#queue.length === 0 && this.#batchEnd > 0 && !this.#reserved) this.#flushBatch();
    const blocked = this.#queue.length > 0 || (this.#batchEnd > 0 && !this.#reserved);
    if (blocked === this.#blocked) return;
    this.#blocked = blocked;
    this.#onBlocked(blocked);
  }

  /** A failure is that of the next `flush`, whose caller can tell what it means. */
  #makeRoom(): void {
    try {
      this.flush();
    } catch (error) {
      this.#failure = error as Error;
    }
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
      if (this.#batchSent) this.#tell(this.#batchSent.splice(0));
    }
  }

  #flushQueue(): void {
    let first: Queued | undefined;
    while ((first = this.#queue[0])) {
      const { buffer, start, end, fds } = first;
      const count = sendBytes(
        this.#fd,
        buffer,
        start,
        end - start,
        fds.length > 0 ? fds.map(({ number }) => number) : undefined,
      );
      if (count === WOULD_BLOCK) return;
      for (const fd of fds.splice(0)) fd.close();
      first.start += count;
      if (first.start < end) continue;
      this.#queue.shift();
      if (first.sent) this.#tell(first.sent);
      if (first.buffer.bytes.length > BATCH_BYTES && this.#spares.length < SPARES)
        this.#spares.push(first.buffer);
    }
  }

  #tell(sent: readonly (() => void)[]): void {
    for (const done of sent) done();
  }

  /** One that was sent, if it fits. */
  #largeBuffer(length: number): StableBuffer {
    const spare = this.#spares.pop();
    return spare && spare.bytes.length >= length ? spare : new StableBuffer(length);
  }

  /** Behind the batch: it was written before. */
  #enqueue(buffer: StableBuffer, start: number, length: number, fds: Fd[] = []): void {
    if (this.#batchEnd > 0 && !this.#reserved) this.#newBatch();
    this.#queue.push({ buffer, start, end: start + length, fds, sent: undefined });
  }

  #newBatch(): void {
    if (this.#batchEnd > 0) {
      this.#queue.push({
        buffer: this.#batch,
        start: 0,
        end: this.#batchEnd,
        fds: [],
        sent: this.#batchSent,
      });
      this.#batchSent = undefined;
    }
    this.#batch = new StableBuffer(BATCH_BYTES);
    this.#batchEnd = 0;
  }
}
