import { VfioError } from "../errno.js";
import { ADDRESS_END, PAGE_SIZE, frameOf, hex } from "./page.js";

/** A range of the client's memory, in bytes. */
export interface DirtyRange {
  readonly address: bigint;
  readonly size: bigint;
}

/** The same in page frames. */
interface FrameRange {
  readonly first: number;
  readonly end: number;
}

/** Pages a chunk of the bitmap covers: 1 GiB of memory in 32 KiB of bits. A report of whole chunks copies each at once. */
const CHUNK_PAGES = 262144;
const WORD_BITS = 32;
const ALL = 0xffffffff;

const EVERYTHING: FrameRange = { first: 0, end: frameOf(ADDRESS_END) };

/**
 * Which pages of the client's memory the device wrote (VFIO uAPI: VFIO_DEVICE_FEATURE_DMA_LOGGING_*).
 *
 * Pages are tracked in 4 KiB whatever page size is asked for, so a report can have any. Storage is sparse: a
 * log of 1 TiB costs what its dirty pages cost.
 */
export class DirtyLog {
  /** Sorted, apart from each other; undefined while logging is off. */
  #ranges: FrameRange[] | undefined;
  /** What START asked for, to recognize a repetition. */
  #started = "";
  #pageSize = 0n;
  /** Bits by chunk number; without a chunk, clean. Words are as a little-endian machine has them in memory. */
  readonly #chunks = new Map<number, Uint32Array>();

  get active(): boolean {
    return this.#ranges !== undefined;
  }

  /**
   * VFIO_DEVICE_FEATURE_DMA_LOGGING_START. Asked again for the same, it goes on and clears nothing.
   * @param pageSize a hint (vfio-user)
   * @param ranges none: log everything (vfio-user)
   * @returns the page size selected: the hint, or 4 KiB if that is finer
   * @throws VfioError EINVAL, EOVERFLOW
   */
  start(pageSize: bigint, ranges: readonly DirtyRange[]): bigint {
    checkPageSize(pageSize);
    const request = `${pageSize} ${ranges.map(({ address, size }) => `${address}+${size}`).join(" ")}`;
    if (this.#ranges) {
      if (request !== this.#started)
        throw new VfioError(
          "EINVAL",
          `page_size ${hex(pageSize)}: logging has started with other parameters`,
        );
      return this.#pageSize;
    }
    this.#ranges = ranges.length === 0 ? [EVERYTHING] : sortRanges(pageSize, ranges);
    this.#started = request;
    this.#pageSize = pageSize < PAGE_SIZE ? BigInt(PAGE_SIZE) : pageSize;
    return this.#pageSize;
  }

  /** VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP. Forgets everything. Stopping what has not started is no error. */
  stop(): void {
    this.#ranges = undefined;
    this.#chunks.clear();
  }

  /** The device wrote the page frames from `first` up to but not including `end`. While logging is on. */
  mark(first: number, end: number): void {
    for (const range of this.#ranges ?? []) {
      if (range.end <= first) continue;
      if (range.first >= end) return;
      this.#markPages(Math.max(first, range.first), Math.min(end, range.end));
    }
  }

  /**
   * VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: what was written in the range since the last report of it.
   * @returns the bitmap, of `dirtyBitmapSize` bytes: bit n is the n-th `pageSize` bytes of the range
   * @throws VfioError EINVAL, EOVERFLOW, ENOMEM
   */
  report(address: bigint, size: bigint, pageSize: bigint): Uint8Array {
    const ranges = this.#ranges;
    if (!ranges) throw new VfioError("EINVAL", "logging has not started");
    checkPageSize(pageSize);
    const { first, end } = toFrames({ address, size }, BigInt(PAGE_SIZE));
    if (!covers(ranges, first, end))
      throw new VfioError(
        "EINVAL",
        `iova ${hex(address)} length ${hex(size)}: not in the ranges that are logged`,
      );

    const bitmap = new Bitmap(allocate(dirtyBitmapSize(size, pageSize)), Number(pageSize) / PAGE_SIZE);
    const firstChunk = Math.floor(first / CHUNK_PAGES);
    const lastChunk = Math.floor((end - 1) / CHUNK_PAGES);
    if (lastChunk - firstChunk < this.#chunks.size) {
      for (let number = firstChunk; number <= lastChunk; number++) {
        const chunk = this.#chunks.get(number);
        if (chunk) this.#takeFrom(chunk, number, first, end, bitmap);
      }
    } else {
      for (const [number, chunk] of this.#chunks)
        if (number >= firstChunk && number <= lastChunk) this.#takeFrom(chunk, number, first, end, bitmap);
    }
    return bitmap.bytes;
  }

  /** Moves a chunk's bits of the pages [first, end) to the report. */
  #takeFrom(chunk: Uint32Array, number: number, first: number, end: number, bitmap: Bitmap): void {
    const base = number * CHUNK_PAGES;
    const from = Math.max(first - base, 0);
    const to = Math.min(end - base, CHUNK_PAGES);
    if (bitmap.ratio === 1 && ((first | end) & (WORD_BITS - 1)) === 0) {
      const words = chunk.subarray(from >>> 5, to >>> 5);
      bitmap.copy((base + from - first) / WORD_BITS, words);
      if (words.length < chunk.length) words.fill(0);
    } else this.#addFrom(chunk, from, to, base - first, bitmap);
    if (to - from === CHUNK_PAGES) this.#chunks.delete(number);
  }

  /** Word by word, where the bits of the report are others than those of the log. */
  #addFrom(chunk: Uint32Array, from: number, to: number, shift: number, bitmap: Bitmap): void {
    for (let word = from >>> 5; word << 5 < to; word++) {
      const mask = wordMask(word, from, to);
      const dirty = chunk[word]! & mask;
      if (dirty === 0) continue;
      chunk[word]! &= ~mask;
      bitmap.add((word << 5) + shift, dirty);
    }
  }

  #markPages(first: number, end: number): void {
    for (let number = Math.floor(first / CHUNK_PAGES); number * CHUNK_PAGES < end; number++) {
      let chunk = this.#chunks.get(number);
      if (!chunk) {
        chunk = new Uint32Array(CHUNK_PAGES / WORD_BITS);
        this.#chunks.set(number, chunk);
      }
      const from = Math.max(first - number * CHUNK_PAGES, 0);
      const to = Math.min(end - number * CHUNK_PAGES, CHUNK_PAGES);
      for (let word = from >>> 5; word << 5 < to; word++) chunk[word]! |= wordMask(word, from, to);
    }
  }
}

/**
 * Bytes of a report's bitmap: whole 64-bit words (VFIO uAPI: an array of u64). Check it before you report.
 * @throws VfioError EINVAL
 */
export function dirtyBitmapSize(size: bigint, pageSize: bigint): number {
  checkPageSize(pageSize);
  const bits = (size + pageSize - 1n) / pageSize;
  return Number((bits + 63n) / 64n) * 8;
}

/** A report being filled in. */
class Bitmap {
  readonly #words: Uint32Array;

  /** @param ratio size of the report's pages in 4 KiB pages: 2, 4 … or 1, or 1/2, 1/4 … */
  constructor(
    readonly bytes: Uint8Array,
    readonly ratio: number,
  ) {
    this.#words = new Uint32Array(bytes.buffer);
  }

  /** Sets whole words, which are those of the log: a report of many pages is a copy of memory. */
  copy(word: number, words: Uint32Array): void {
    this.#words.set(words, word);
  }

  /** Adds 32 pages. @param page the first of them, from the start of the report: negative where it has no bits */
  add(page: number, dirty: number): void {
    if (this.ratio === 1) this.#addShifted(page, dirty);
    else if (this.ratio > 1) this.#addCombined(page, dirty);
    else this.#addSpread(page, dirty);
  }

  /** Bit for bit, 32 at a time. */
  #addShifted(page: number, dirty: number): void {
    if (page < 0) {
      this.#words[0]! |= dirty >>> -page;
      return;
    }
    const word = Math.floor(page / WORD_BITS);
    const shift = page % WORD_BITS;
    this.#words[word]! |= dirty << shift;
    const rest = shift === 0 ? 0 : dirty >>> (WORD_BITS - shift);
    if (rest !== 0) this.#words[word + 1]! |= rest;
  }

  /** Many pages are one bit: after one that is dirty, the rest of its bit is skipped. */
  #addCombined(page: number, dirty: number): void {
    for (let left = dirty; left !== 0;) {
      const bit = Math.floor((page + lowestBit(left)) / this.ratio);
      this.#words[Math.floor(bit / WORD_BITS)]! |= 1 << (bit % WORD_BITS);
      const next = (bit + 1) * this.ratio - page;
      left = next < WORD_BITS ? left & (ALL << next) : 0;
    }
  }

  /** One page is many bits. */
  #addSpread(page: number, dirty: number): void {
    for (let left = dirty; left !== 0; left &= left - 1) {
      const at = page + lowestBit(left);
      this.#set(at / this.ratio, (at + 1) / this.ratio);
    }
  }

  #set(from: number, to: number): void {
    for (let word = Math.floor(from / WORD_BITS); word * WORD_BITS < to; word++) {
      const base = word * WORD_BITS;
      this.#words[word]! |= bitMask(Math.max(from - base, 0), Math.min(to - base, WORD_BITS));
    }
  }
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Bits from up to but not including to, of 32. */
function bitMask(from: number, to: number): number {
  return (ALL << from) & (ALL >>> (WORD_BITS - to));
}

/** The bits of a chunk's word that lie in [from, to) of the chunk. */
function wordMask(word: number, from: number, to: number): number {
  const base = word << 5;
  return bitMask(Math.max(from - base, 0), Math.min(to - base, WORD_BITS));
}

function allocate(size: number): Uint8Array {
  try {
    return new Uint8Array(size);
  } catch {
    throw new VfioError("ENOMEM", `a report of ${size} bytes`);
  }
}

/** @throws VfioError EINVAL */
function checkPageSize(pageSize: bigint): void {
  if (pageSize <= 0n || (pageSize & (pageSize - 1n)) !== 0n)
    throw new VfioError("EINVAL", `page_size ${hex(pageSize)}: not a power of two`);
}

/** @throws VfioError EINVAL, EOVERFLOW (both as Linux's vfio_main.c) */
function toFrames({ address, size }: DirtyRange, alignment: bigint): FrameRange {
  const mask = alignment - 1n;
  if (size <= 0n || (address & mask) !== 0n || (size & mask) !== 0n)
    throw new VfioError(
      "EINVAL",
      `iova ${hex(address)} length ${hex(size)}: must be multiples of ${hex(alignment)}, and the length not 0`,
    );
  if (address + size > ADDRESS_END)
    throw new VfioError("EOVERFLOW", `iova ${hex(address)} length ${hex(size)}: wraps at 2^64`);
  return { first: frameOf(address), end: frameOf(address + size) };
}

/** Ranges in page frames, sorted, adjacent ones joined. @throws VfioError EINVAL, EOVERFLOW */
function sortRanges(pageSize: bigint, ranges: readonly DirtyRange[]): FrameRange[] {
  const alignment = pageSize < PAGE_SIZE ? BigInt(PAGE_SIZE) : pageSize;
  const sorted = ranges.map((range) => toFrames(range, alignment)).sort((a, b) => a.first - b.first);
  const joined: FrameRange[] = [];
  for (const range of sorted) {
    const before = joined.at(-1);
    if (before && range.first < before.end)
      throw new VfioError("EINVAL", `ranges overlap at ${hex(BigInt(range.first) * BigInt(PAGE_SIZE))}`);
    if (before?.end === range.first) joined[joined.length - 1] = { first: before.first, end: range.end };
    else joined.push(range);
  }
  return joined;
}

/** Ranges that touch are joined, so a range that is covered is covered by one. */
function covers(ranges: readonly FrameRange[], first: number, end: number): boolean {
  return ranges.some((range) => range.first <= first && end <= range.end);
}
