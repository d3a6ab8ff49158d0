import { PAGE_SIZE } from "../dma/page.js";
import { VfioError } from "../errno.js";

const WORD_SHIFT = 5;
const WORD_BITS = 1 << WORD_SHIFT;

/** A row of pages of a memory. Bytes. */
export interface PageRun {
  readonly offset: number;
  readonly length: number;
}

/**
 * Memory of a device (up to 4 GiB) that knows which of its pages have changed since they were sent, so that it can
 * migrate while the device runs (PRE_COPY).
 *
 * The device reads `bytes` as it likes. It writes with `write`, `fill` and `clear`, or into `bytes` and then calls
 * `markDirty`: a write that is not marked may be lost in a migration. Marking allocates nothing, and costs a few
 * comparisons while the memory is not being sent.
 */
export class TrackedMemory {
  readonly bytes: Uint8Array;
  readonly #pageCount: number;
  /** One bit a page that was sent and has changed. */
  readonly #dirty: Int32Array;
  #dirtyPages = 0;
  /** Pages before this one were sent at least once; the others will be sent anyway. 0: nobody is sending. */
  #sent = 0;
  /** The word of `#dirty` where the search for dirty pages goes on. */
  #cursor = 0;
  #replaced = false;
  /** All zeros: nothing was ever written. */
  #pristine: boolean;

  /** @param memory its bytes; or how many, and they are zeros. @throws VfioError EINVAL */
  constructor(memory: number | Uint8Array) {
    if (typeof memory === "number" && !(Number.isSafeInteger(memory) && memory > 0)) {
      throw new VfioError("EINVAL", `memory of ${memory} bytes: a whole number above 0`);
    }
    this.#pristine = typeof memory === "number";
    this.bytes = typeof memory === "number" ? new Uint8Array(memory) : memory;
    this.#pageCount = Math.ceil(this.bytes.byteLength / PAGE_SIZE);
    this.#dirty = new Int32Array(Math.ceil(this.#pageCount / WORD_BITS));
  }

  get size(): number {
    return this.bytes.byteLength;
  }

  /** Copies `from` to `offset`. @throws RangeError outside the memory */
  write(offset: number, from: Uint8Array): void {
    this.bytes.set(from, offset);
    this.markDirty(offset, from.byteLength);
  }

  /** Fills the bytes from `start` up to `end` with a value. */
  fill(value: number, start = 0, end = this.size): void {
    this.bytes.fill(value, start, end);
    this.markDirty(start, end - start);
  }

  /** All zeros, as a reset leaves it. Costs nothing while nothing was ever written. */
  clear(): void {
    if (this.#pristine) return;
    this.fill(0);
    this.#pristine = true;
  }

  /** The device has written `length` bytes at `offset` of `bytes`. */
  markDirty(offset: number, length: number): void {
    if (length <= 0) return;
    this.#pristine = false;
    const last = Math.min(Math.floor((offset + length - 1) / PAGE_SIZE), this.#sent - 1);
    for (let page = Math.floor(offset / PAGE_SIZE); page <= last; page++) {
      const word = page >>> WORD_SHIFT;
      const bit = 1 << (page & (WORD_BITS - 1));
      if ((this.#dirty[word]! & bit) !== 0) continue;
      this.#dirty[word]! |= bit;
      this.#dirtyPages++;
    }
  }

  /**
   * Its whole content has become another: formatted, loaded anew. What was sent of the old one is of no use, and who
   * migrates the device is told (VFIO uAPI: VFIO_PRECOPY_INFO_REINIT).
   */
  replaced(): void {
    this.#pristine = false;
    if (this.#sent === 0) return;
    this.forgetSent();
    this.#replaced = true;
  }

  // For whoever sends it.

  /** Bytes that were never sent. */
  get initialBytes(): number {
    return Math.max(0, this.size - this.#sent * PAGE_SIZE);
  }

  /** Bytes that were sent and have changed. */
  get dirtyBytes(): number {
    return Math.min(this.#dirtyPages * PAGE_SIZE, this.size);
  }

  /** True once after `replaced`. */
  takeReplaced(): boolean {
    const replaced = this.#replaced;
    this.#replaced = false;
    return replaced;
  }

  /** Nothing counts as sent: before the first page is sent, and when nobody sends any more. */
  forgetSent(): void {
    this.#dirty.fill(0);
    this.#dirtyPages = 0;
    this.#sent = 0;
    this.#cursor = 0;
    this.#replaced = false;
  }

  /**
   * The next pages to send, at most `most` in a row: first those that were never sent, in order, then those that have
   * changed. They count as sent from now on, so what is written while they are being copied is sent again. Undefined:
   * there is nothing to send, for now.
   */
  take(most: number): PageRun | undefined {
    if (this.#sent < this.#pageCount) {
      const first = this.#sent;
      this.#sent = Math.min(first + most, this.#pageCount);
      return this.#run(first, this.#sent);
    }
    if (this.#dirtyPages === 0) return undefined;
    while (this.#dirty[this.#cursor] === 0) this.#cursor = (this.#cursor + 1) % this.#dirty.length;
    const lowest = this.#dirty[this.#cursor]! & -this.#dirty[this.#cursor]!;
    const first = this.#cursor * WORD_BITS + 31 - Math.clz32(lowest);
    let end = first;
    while (end < first + most && this.#takeDirty(end)) end++;
    return this.#run(first, end);
  }

  /** Clears a page's dirty bit. @returns what it was */
  #takeDirty(page: number): boolean {
    const word = page >>> WORD_SHIFT;
    const bit = 1 << (page & (WORD_BITS - 1));
    if (word >= this.#dirty.length || (this.#dirty[word]! & bit) === 0) return false;
    this.#dirty[word]! &= ~bit;
    this.#dirtyPages--;
    return true;
  }

  #run(first: number, end: number): PageRun {
    const offset = first * PAGE_SIZE;
    return { offset, length: Math.min(end * PAGE_SIZE, this.size) - offset };
  }
}
