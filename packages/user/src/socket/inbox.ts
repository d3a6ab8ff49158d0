import { type Fd, Receiver, StableBuffer, WOULD_BLOCK } from "../linux/index.js";
import { HEADER_SIZE, messageSize, WireError } from "../wire/index.js";

/** Descriptors of one message. Whatever a command does not take out of `fds` is closed after it. */
export interface MessageFds {
  readonly fds: Fd[];
  /** There were more, which are lost: closed because they were too many, or dropped by the kernel. */
  lost: boolean;
}

interface Attached extends MessageFds {
  /** Position of the last byte that came with them: they are of the message that holds it. */
  at: number;
}

/** Descriptors that may be held at least, however few a message may have. */
const MIN_HELD = 256;

/** The received bytes of one socket, cut into messages, with the descriptors of each. */
export class Inbox {
  readonly #buffer: StableBuffer;
  readonly #receiver: Receiver;
  readonly #maxFds: number;
  #attached: Attached[] = [];
  /** What is attached: descriptors, and pieces that lost theirs. */
  #held = 0;
  /** The first message starts at `head`, the received bytes end at `#end`. */
  head = 0;
  #end = 0;
  /** Messages before this position have been looked at by `takeReply`. */
  #scanned = 0;
  /** The first message is being worked on and must stay where it is. */
  #pinned = false;

  /**
   * @param maxMessage largest message, header included. Can be lowered for a time
   * @param maxFds most descriptors that a message may have
   */
  constructor(
    public maxMessage: number,
    maxFds: number,
  ) {
    // Room for a whole message behind one that is being worked on.
    this.#buffer = new StableBuffer(2 * maxMessage);
    this.#receiver = new Receiver(this.#buffer);
    this.#maxFds = maxFds;
  }

  get bytes(): Uint8Array {
    return this.#buffer.bytes;
  }

  get view(): DataView {
    return this.#buffer.view;
  }

  /** Nothing more can be received until the first message is done with. */
  get full(): boolean {
    const { length } = this.#buffer.bytes;
    // Half of the buffer holds any message: what is beyond that can be moved to the front.
    if (this.#end === length && (this.#pinned || this.head < length / 2)) return true;
    return this.#held >= this.#maxHeld && (this.#pinned || this.next() > 0);
  }

  /** Descriptors of messages that are not done with. */
  get heldFds(): number {
    return this.#held;
  }

  /** Of all messages behind one that waits: a peer could send descriptors without end. */
  get #maxHeld(): number {
    return Math.max(8 * this.#maxFds, MIN_HELD);
  }

  /**
   * Receives once, without waiting.
   * @returns the number of bytes; 0 at the end of the stream; WOULD_BLOCK, also when there is no room
   * @throws SyscallError ECONNRESET …; WireError: more descriptors than a message may have, for one that has not ended
   */
  receive(fd: Fd): number {
    if (this.full) return WOULD_BLOCK;
    // Those of one message that has not ended. Whole ones behind a command that waits are bounded by `full`.
    if (this.#held > this.#maxFds && !this.#pinned && this.next() === 0)
      throw new WireError(
        "descriptors",
        String(this.#held),
        `a message has at most ${this.#maxFds}`,
        "EPROTO",
      );
    if (!this.#pinned) this.#compact();
    const count = this.#receiver.receive(fd, this.#end, this.#buffer.bytes.length - this.#end);
    if (count > 0) this.#end += count;
    if (this.#receiver.hasFds) this.#attach();
    return count;
  }

  /** Size of the first message, which starts at `head`; 0 while it is incomplete. @throws WireError */
  next(): number {
    return this.#completeAt(this.head);
  }

  /** The bytes of the first message, of `size` bytes, where they are: the caller's until `drop`. */
  message(size: number): Uint8Array {
    return this.#buffer.bytes.subarray(this.head, this.head + size);
  }

  /** The first message is done with. */
  drop(size: number): void {
    this.head += size;
    this.#pinned = false;
    if (this.#attached.length > 0) this.#closeBefore(this.head);
    if (this.head === this.#end) this.head = this.#end = 0;
    this.#scanned = this.head;
  }

  /** Keeps the first message, of `size` bytes, where it is until `drop`. */
  pin(size: number): void {
    this.#pinned = true;
    this.#scanned = this.head + size;
  }

  /** The descriptors of the first message, of `size` bytes. Still closed by `drop`, unless taken out. */
  fdsOf(size: number): MessageFds {
    const all: MessageFds = { fds: [], lost: false };
    for (const attached of this.#attached) {
      if (attached.at >= this.head + size) break;
      this.#held -= weightOf(attached);
      all.fds.push(...attached.fds);
      all.lost ||= attached.lost;
    }
    this.#attached = this.#attached.filter((attached) => attached.at >= this.head + size);
    return all;
  }

  get hasFds(): boolean {
    return this.#attached.length > 0;
  }

  /**
   * Looks behind commands that have to wait for a message that need not: calls `take` with each whole message
   * that has arrived since, and removes those for which it returns true.
   * @throws WireError
   */
  takeFrom(take: (at: number, size: number) => boolean): void {
    this.#scanned = Math.max(this.#scanned, this.head);
    for (;;) {
      const at = this.#scanned;
      const size = this.#completeAt(at);
      if (size === 0) return;
      if (!take(at, size)) {
        this.#scanned += size;
        continue;
      }
      this.#remove(at, size);
    }
  }

  close(): void {
    this.#closeBefore(Infinity);
    this.#receiver.close();
  }

  #completeAt(at: number): number {
    if (this.#end - at < HEADER_SIZE) return 0;
    const size = messageSize(this.#buffer.view, at, this.maxMessage);
    return this.#end - at < size ? 0 : size;
  }

  #compact(): void {
    if (this.head < this.#buffer.bytes.length / 2) return;
    this.#buffer.bytes.copyWithin(0, this.head, this.#end);
    for (const attached of this.#attached) attached.at -= this.head;
    this.#end -= this.head;
    this.#scanned -= this.head;
    this.head = 0;
  }

  #remove(at: number, size: number): void {
    this.#buffer.bytes.copyWithin(at, at + size, this.#end);
    this.#end -= size;
    this.#attached = this.#attached.filter((attached) => {
      if (attached.at < at) return true;
      if (attached.at >= at + size) {
        attached.at -= size;
        return true;
      }
      this.#release(attached);
      return false;
    });
  }

  #attach(): void {
    const { fds, truncated } = this.#receiver.takeFds();
    const lost = truncated || fds.length > this.#maxFds;
    if (lost) for (const fd of fds.splice(0)) fd.close();
    const attached = { at: this.#end - 1, fds, lost };
    this.#attached.push(attached);
    this.#held += weightOf(attached);
  }

  #closeBefore(position: number): void {
    while (this.#attached.length > 0 && this.#attached[0]!.at < position)
      this.#release(this.#attached.shift()!);
  }

  #release(attached: Attached): void {
    this.#held -= weightOf(attached);
    for (const fd of attached.fds) fd.close();
  }
}

function weightOf({ fds }: Attached): number {
  return Math.max(1, fds.length);
}
