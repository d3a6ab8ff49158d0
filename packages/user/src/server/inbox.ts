import { type Fd, Receiver, StableBuffer, WOULD_BLOCK } from "../linux/index.js";
import { HEADER_SIZE, messageSize } from "../wire/index.js";

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

/** The received bytes of one socket, cut into messages, with the descriptors of each. */
export class Inbox {
  readonly #buffer: StableBuffer;
  readonly #receiver: Receiver;
  readonly #maxMessage: number;
  readonly #maxFds: number;
  #attached: Attached[] = [];
  /** The first message starts at `head`, the received bytes end at `#end`. */
  head = 0;
  #end = 0;
  /** Messages before this position have been looked at by `takeReply`. */
  #scanned = 0;
  /** The first message is being worked on and must stay where it is. */
  #pinned = false;

  /**
   * @param maxMessage largest message, header included
   * @param maxFds most descriptors that a message may have
   */
  constructor(maxMessage: number, maxFds: number) {
    // Room for a whole message behind one that is being worked on.
    this.#buffer = new StableBuffer(2 * maxMessage);
    this.#receiver = new Receiver(this.#buffer);
    this.#maxMessage = maxMessage;
    this.#maxFds = maxFds;
  }

  get bytes(): Uint8Array {
    return this.#buffer.bytes;
  }

  get view(): DataView {
    return this.#buffer.view;
  }

  get full(): boolean {
    return this.#end === this.#buffer.bytes.length;
  }

  /**
   * Receives once, without waiting.
   * @returns the number of bytes; 0 at the end of the stream; WOULD_BLOCK, also when there is no room
   * @throws SyscallError ECONNRESET …
   */
  receive(fd: Fd): number {
    if (!this.#pinned) this.#compact();
    const room = this.#buffer.bytes.length - this.#end;
    if (room === 0) return WOULD_BLOCK;
    const count = this.#receiver.receive(fd, this.#end, room);
    if (count > 0) this.#end += count;
    if (this.#receiver.hasFds) this.#attach();
    return count;
  }

  /** Size of the first message, which starts at `head`; 0 while it is incomplete. @throws WireError */
  next(): number {
    return this.#completeAt(this.head);
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
      all.fds.push(...attached.fds.splice(0));
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
    const size = messageSize(this.#buffer.view, at, this.#maxMessage);
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
      for (const fd of attached.fds) fd.close();
      return false;
    });
  }

  #attach(): void {
    const { fds, truncated } = this.#receiver.takeFds();
    // A client could send descriptors without end that belong to one message, or to many behind one that waits.
    const held = this.#attached.reduce((sum, attached) => sum + attached.fds.length, 0);
    const lost = truncated || fds.length > this.#maxFds || held + fds.length > 8 * this.#maxFds;
    if (lost) for (const fd of fds.splice(0)) fd.close();
    this.#attached.push({ at: this.#end - 1, fds, lost });
  }

  #closeBefore(position: number): void {
    while (this.#attached.length > 0 && this.#attached[0]!.at < position)
      for (const fd of this.#attached.shift()!.fds) fd.close();
  }
}
