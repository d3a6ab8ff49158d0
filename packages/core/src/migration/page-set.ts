/** Pages that a chunk covers: 128 MiB of memory in 4 KiB of bits. */
const CHUNK_PAGES = 32768;
const WORD_BITS = 32;

/** Some of the pages of a memory, counted. It costs what is in it, not what the memory is said to have. */
export class PageSet {
  readonly #chunks = new Map<number, Uint32Array>();
  #count = 0;

  constructor(private readonly pages: number) {}

  get count(): number {
    return this.#count;
  }

  /** Bytes that it keeps. */
  get held(): number {
    let held = 0;
    for (const chunk of this.#chunks.values()) held += chunk.byteLength;
    return held;
  }

  /** Adds the pages from `first` up to `end`. */
  add(first: number, end: number): void {
    for (let page = first; page < end; page++) {
      const chunk = this.#chunk(Math.floor(page / CHUNK_PAGES));
      const at = page % CHUNK_PAGES;
      const word = chunk[at >>> 5]!;
      const bit = 1 << (at & (WORD_BITS - 1));
      if ((word & bit) !== 0) continue;
      chunk[at >>> 5] = word | bit;
      this.#count++;
    }
  }

  /** The first page that is not in it; `pages` if all are. */
  firstMissing(): number {
    let page = 0;
    while (page < this.pages) {
      const word = this.#chunks.get(Math.floor(page / CHUNK_PAGES))?.[(page % CHUNK_PAGES) >>> 5] ?? 0;
      if (word !== 0xffffffff) {
        // The lowest bit that is 0.
        const lowest = ~word & (word + 1);
        return Math.min(page + 31 - Math.clz32(lowest), this.pages);
      }
      page += WORD_BITS;
    }
    return this.pages;
  }

  #chunk(number: number): Uint32Array {
    let chunk = this.#chunks.get(number);
    if (!chunk) {
      const pages = Math.min(CHUNK_PAGES, this.pages - number * CHUNK_PAGES);
      chunk = new Uint32Array(Math.ceil(pages / WORD_BITS));
      this.#chunks.set(number, chunk);
    }
    return chunk;
  }
}
