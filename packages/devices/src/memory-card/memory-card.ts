import {
  registers,
  ro,
  rw,
  section,
  sections,
  TrackedMemory,
  trackedMemory,
  wo,
  type FunctionHost,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import type { Timer, WallClock } from "../clock/index.js";
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

  private readonly registers;
  /** Of the registers. */
  private readonly values;

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
    powerOnRate: number,
    private readonly clock: WallClock,
    host: Pick<FunctionHost, "guard">,
  ) {
    this.memory = new TrackedMemory(size);
    this.words = new Int32Array(this.memory.bytes.buffer);
    this.pages = size / PAGE_SIZE;
    this.registers = registers(
      {
        size: ro(SIZE, { stream: "none" }),
        address: rw(ADDRESS, { mask: ~(WORD_SIZE - 1) }),
        data: rw(DATA, { stream: "none" }),
        page: rw(PAGE),
        count: rw(COUNT),
        seed: rw(SEED),
        command: wo(COMMAND),
        status: ro(STATUS, { mask: STATUS_MASK }),
        sum: ro(SUM),
        rate: rw(RATE, { reset: powerOnRate }),
        written: ro(WRITTEN),
      },
      {
        size: { read: () => this.pages },
        data: {
          read: () => (this.words[this.nextWord()] ?? 0) >>> 0,
          write: (value) => this.writeData(this.nextWord(), value),
        },
        command: { write: (value) => (this.values.status = this.perform(value)) },
        rate: { written: () => this.schedule() },
      },
    );
    this.values = this.registers.values;
    this.timer = clock.timer(host.guard("timer", () => this.tick()));
    this.state = sections({
      registers: section(this.registers.fields),
      memory: trackedMemory(this.memory),
    });
    this.schedule();
  }

  read(_bar: number, offset: number, size: number): number {
    return this.registers.read(offset, size);
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    this.registers.write(offset, value, size);
  }

  /** PCIe 6.0 §6.6.2: what a card's memory held must not be seen after a reset. */
  reset(): void {
    this.memory.clear();
    this.registers.reset();
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
    const word = this.values.address / WORD_SIZE;
    if (word < this.words.length) this.values.address = (this.values.address + WORD_SIZE) >>> 0;
    return word;
  }

  private writeData(word: number, value: number): void {
    if (word >= this.words.length) return;
    this.setWord(word, value);
    this.memory.markDirty(word * WORD_SIZE, WORD_SIZE);
  }

  private setWord(word: number, value: number): void {
    this.values.sum = (this.values.sum - weight(word, this.words[word]!) + weight(word, value | 0)) >>> 0;
    this.words[word] = value;
  }

  /** @returns the new STATUS */
  private perform(command: number): number {
    switch (command) {
      case COMMAND_FILL:
        if (this.values.page + this.values.count > this.pages) return STATUS_INVALID;
        this.fill();
        return 0;
      case COMMAND_VERIFY:
        return sumOf(this.words) === this.values.sum ? 0 : STATUS_MISMATCH;
      default:
        return STATUS_INVALID;
    }
  }

  private fill(): void {
    for (let page = this.values.page; page < this.values.page + this.values.count; page++)
      this.fillPage(page, this.values.seed);
    // Nothing is left of what a migration under way has sent.
    if (this.values.count === this.pages) this.memory.replaced();
  }

  private fillPage(page: number, seed: number): void {
    const first = page * PAGE_WORDS;
    for (let word = first; word < first + PAGE_WORDS; word++) this.setWord(word, patternWord(word, seed));
    this.memory.markDirty(page * PAGE_SIZE, PAGE_SIZE);
  }

  /** Starts or stops the card's own writing. */
  private schedule(): void {
    if (this.stopped || this.values.rate === 0) {
      this.timer.stop();
      return;
    }
    this.wroteAt = this.clock.now();
    this.timer.start(WRITE_INTERVAL);
  }

  /** Writes the pages that are due. */
  private tick(): void {
    const pageTime = (PAGE_SIZE * 1000) / this.values.rate;
    const now = this.clock.now();
    this.wroteAt = Math.max(this.wroteAt, now - LONGEST_DELAY - pageTime);
    for (; this.wroteAt + pageTime <= now; this.wroteAt += pageTime) {
      this.fillPage(this.values.written % this.pages, this.values.written);
      this.values.written = (this.values.written + 1) >>> 0;
    }
    this.timer.start(WRITE_INTERVAL);
  }
}
