import {
  registers,
  ro,
  rw,
  section,
  sections,
  TrackedMemory,
  trackedMemory,
  u32,
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
  STATUS_BUSY,
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
/** Pages that the card works on at a time: a few milliseconds. Accesses, and other devices, come in between. */
const SLICE = 256;
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
  /** A command that takes longer than a slice. */
  private readonly commandTimer: Timer;
  private readonly command = { number: 0, first: 0, page: 0, end: 0, seed: 0, sum: 0 };
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
        command: { write: (value) => this.perform(value) },
        rate: { written: () => this.schedule() },
      },
    );
    this.values = this.registers.values;
    this.timer = clock.timer(host.guard("timer", () => this.tick()));
    this.commandTimer = clock.timer(host.guard("command", () => this.goOn()));
    const { command } = this;
    const field = (name: keyof typeof command) =>
      u32(
        () => command[name],
        (value) => (command[name] = value),
        { since: 2, default: 0 },
      );
    this.state = sections({
      registers: section({
        ...this.registers.fields,
        command: field("number"),
        commandFirst: field("first"),
        commandPage: field("page"),
        commandEnd: field("end"),
        commandSeed: field("seed"),
        commandSum: field("sum"),
      }),
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
    this.command.number = 0;
    this.commandTimer.stop();
    this.registers.reset();
    this.schedule();
  }

  stop(): void {
    this.stopped = true;
    this.schedule();
    this.commandTimer.stop();
  }

  run(): void {
    this.stopped = false;
    this.schedule();
    if (this.command.number !== 0) this.commandTimer.start(0);
  }

  close(): void {
    this.timer.stop();
    this.commandTimer.stop();
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
    const change = weight(word, value | 0) - weight(word, this.words[word]!);
    this.values.sum = (this.values.sum + change) >>> 0;
    // What VERIFY has added up already.
    const { command } = this;
    if (command.number === COMMAND_VERIFY && word < command.page * PAGE_WORDS)
      command.sum = (command.sum + change) >>> 0;
    this.words[word] = value;
  }

  private perform(number: number): void {
    const { values, command, pages } = this;
    const fill = number === COMMAND_FILL && values.page + values.count <= pages;
    if (command.number !== 0) {
      values.status |= STATUS_INVALID;
      return;
    }
    if (!fill && number !== COMMAND_VERIFY) {
      values.status = STATUS_INVALID;
      return;
    }
    const [page, end] = fill ? [values.page, values.page + values.count] : [0, pages];
    Object.assign(command, { number, first: page, page, end, seed: values.seed, sum: 0 });
    values.status = STATUS_BUSY;
    this.goOn();
  }

  /** A slice of the command's work. */
  private goOn(): void {
    const { command, values } = this;
    const end = Math.min(command.page + SLICE, command.end);
    for (; command.page < end; command.page++) {
      if (command.number === COMMAND_FILL) this.fillPage(command.page, command.seed);
      else command.sum = (command.sum + sumOf(this.words, command.page * PAGE_WORDS, PAGE_WORDS)) >>> 0;
    }
    if (end < command.end) {
      if (!this.stopped) this.commandTimer.start(0);
      return;
    }
    const mismatch = command.number === COMMAND_VERIFY && command.sum !== values.sum;
    // Nothing is left of what a migration under way has sent.
    if (command.number === COMMAND_FILL && command.first === 0 && end === this.pages) this.memory.replaced();
    command.number = 0;
    values.status = mismatch ? STATUS_MISMATCH : 0;
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

  /** Writes the pages that are due, as many as a slice has room for. */
  private tick(): void {
    const pageTime = (PAGE_SIZE * 1000) / this.values.rate;
    const now = this.clock.now();
    this.wroteAt = Math.max(this.wroteAt, now - LONGEST_DELAY - pageTime);
    for (let left = SLICE; this.wroteAt + pageTime <= now; this.wroteAt += pageTime) {
      if (left-- === 0) {
        this.timer.start(0);
        return;
      }
      this.fillPage(this.values.written % this.pages, this.values.written);
      this.values.written = (this.values.written + 1) >>> 0;
    }
    this.timer.start(WRITE_INTERVAL);
  }
}
