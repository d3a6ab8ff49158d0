import {
  section,
  sections,
  TrackedMemory,
  trackedMemory,
  u32,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import type { Clock, Timer } from "../serial/index.js";
import { patternWord, sumOf, weight } from "./pattern.js";
import {
  ADDRESS,
  COMMAND,
  COMMAND_FILL,
  COMMAND_VERIFY,
  COUNT,
  DATA,
  PAGE,
  RATE,
  SEED,
  SIZE,
  STATUS,
  STATUS_INVALID,
  STATUS_MASK,
  STATUS_MISMATCH,
  SUM,
  WRITTEN,
} from "./registers.js";

export const PAGE_SIZE = 4096;
const WORD_SIZE = 4;
const PAGE_WORDS = PAGE_SIZE / WORD_SIZE;

/** How often the card writes by itself, in milliseconds. */
const WRITE_INTERVAL = 5;
/** A writer that was held up for longer does not make up for it, in milliseconds. */
const LONGEST_DELAY = 500;

/** Timers, and the time in milliseconds. */
export interface MemoryCardClock extends Clock {
  now(): number;
}

/**
 * A card with memory of its own, which software reaches through a window of one word, and which the card can write by
 * itself at a given rate: something to migrate. The sum over all that was written is a register of its own, so the card
 * can tell whether its memory holds what it should.
 */
export class MemoryCard implements PciFunction {
  readonly memory: TrackedMemory;
  readonly state: StateSections;
  private readonly words: Int32Array;
  private readonly pages: number;

  private address = 0;
  private page = 0;
  private count = 0;
  private seed = 0;
  private status = 0;
  private sum = 0;
  private rate: number;
  private written = 0;

  private readonly timer: Timer;
  private stopped = false;
  /** When the card last wrote by itself. */
  private wroteAt = 0;

  /**
   * @param size bytes of memory, a multiple of 4096
   * @param powerOnRate of RATE
   */
  constructor(
    size: number,
    private readonly powerOnRate: number,
    private readonly clock: MemoryCardClock,
  ) {
    this.memory = new TrackedMemory(size);
    this.words = new Int32Array(this.memory.bytes.buffer);
    this.pages = size / PAGE_SIZE;
    this.rate = powerOnRate;
    this.timer = clock.timer(() => this.tick());
    this.state = sections({
      registers: section({
        address: u32(
          () => this.address,
          (value) => (this.address = value),
          { valid: (value) => value % WORD_SIZE === 0 },
        ),
        page: u32(
          () => this.page,
          (value) => (this.page = value),
        ),
        count: u32(
          () => this.count,
          (value) => (this.count = value),
        ),
        seed: u32(
          () => this.seed,
          (value) => (this.seed = value),
        ),
        status: u32(
          () => this.status,
          (value) => (this.status = value & STATUS_MASK),
        ),
        sum: u32(
          () => this.sum,
          (value) => (this.sum = value),
        ),
        rate: u32(
          () => this.rate,
          (value) => (this.rate = value),
        ),
        written: u32(
          () => this.written,
          (value) => (this.written = value),
        ),
      }),
      memory: trackedMemory(this.memory),
    });
    this.schedule();
  }

  read(_bar: number, offset: number, size: number): number {
    if (size !== WORD_SIZE) return 0;
    switch (offset) {
      case SIZE:
        return this.pages;
      case ADDRESS:
        return this.address;
      case DATA:
        return (this.words[this.nextWord()] ?? 0) >>> 0;
      case PAGE:
        return this.page;
      case COUNT:
        return this.count;
      case SEED:
        return this.seed;
      case STATUS:
        return this.status;
      case SUM:
        return this.sum;
      case RATE:
        return this.rate;
      case WRITTEN:
        return this.written;
      default:
        return 0;
    }
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    if (size !== WORD_SIZE) return;
    switch (offset) {
      case ADDRESS:
        this.address = (value & ~(WORD_SIZE - 1)) >>> 0;
        break;
      case DATA:
        this.writeData(this.nextWord(), value);
        break;
      case PAGE:
        this.page = value;
        break;
      case COUNT:
        this.count = value;
        break;
      case SEED:
        this.seed = value;
        break;
      case COMMAND:
        this.status = this.perform(value);
        break;
      case RATE:
        this.rate = value;
        this.schedule();
        break;
    }
  }

  /** PCIe 6.0 §6.6.2: what a card's memory held must not be seen after a reset. */
  reset(): void {
    this.memory.clear();
    this.sum = 0;
    this.address = 0;
    this.page = 0;
    this.count = 0;
    this.seed = 0;
    this.status = 0;
    this.written = 0;
    this.rate = this.powerOnRate;
    this.schedule();
  }

  stop(): void {
    this.stopped = true;
    this.schedule();
  }

  run(): void {
    this.stopped = false;
    this.schedule();
  }

  close(): void {
    this.timer.stop();
  }

  /** The word at ADDRESS, which moves on; one beyond the memory stays there. */
  private nextWord(): number {
    const word = this.address / WORD_SIZE;
    if (word < this.words.length) this.address = (this.address + WORD_SIZE) >>> 0;
    return word;
  }

  private writeData(word: number, value: number): void {
    if (word >= this.words.length) return;
    this.setWord(word, value);
    this.memory.markDirty(word * WORD_SIZE, WORD_SIZE);
  }

  private setWord(word: number, value: number): void {
    this.sum = (this.sum - weight(word, this.words[word]!) + weight(word, value | 0)) >>> 0;
    this.words[word] = value;
  }

  /** @returns the new STATUS */
  private perform(command: number): number {
    switch (command) {
      case COMMAND_FILL:
        if (this.page + this.count > this.pages) return STATUS_INVALID;
        this.fill();
        return 0;
      case COMMAND_VERIFY:
        return sumOf(this.words) === this.sum ? 0 : STATUS_MISMATCH;
      default:
        return STATUS_INVALID;
    }
  }

  private fill(): void {
    for (let page = this.page; page < this.page + this.count; page++) this.fillPage(page, this.seed);
    // Nothing is left of what a migration under way has sent.
    if (this.count === this.pages) this.memory.replaced();
  }

  private fillPage(page: number, seed: number): void {
    const first = page * PAGE_WORDS;
    for (let word = first; word < first + PAGE_WORDS; word++) this.setWord(word, patternWord(word, seed));
    this.memory.markDirty(page * PAGE_SIZE, PAGE_SIZE);
  }

  /** Starts or stops the card's own writing. */
  private schedule(): void {
    if (this.stopped || this.rate === 0) {
      this.timer.stop();
      return;
    }
    this.wroteAt = this.clock.now();
    this.timer.start(WRITE_INTERVAL);
  }

  /** Writes the pages that are due. */
  private tick(): void {
    const pageTime = (PAGE_SIZE * 1000) / this.rate;
    const now = this.clock.now();
    this.wroteAt = Math.max(this.wroteAt, now - LONGEST_DELAY - pageTime);
    for (; this.wroteAt + pageTime <= now; this.wroteAt += pageTime) {
      this.fillPage(this.written % this.pages, this.written);
      this.written = (this.written + 1) >>> 0;
    }
    this.timer.start(WRITE_INTERVAL);
  }
}
