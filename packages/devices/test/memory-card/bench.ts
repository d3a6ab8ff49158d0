import { PciDevice, RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { memoryCard, memoryCardRegisters as reg, type MemoryCard } from "@vfiokit/devices";
import { Task } from "@vfiokit/lockdep";
import { ManualClock } from "../serial/bench.js";

export const SIZE = 16 * 4096;

class Clock extends ManualClock {
  #now = 0;

  now(): number {
    return this.#now;
  }

  override advance(milliseconds: number): void {
    for (let i = 0; i < milliseconds; i++) {
      this.#now++;
      super.advance(1);
    }
  }

  /** The process was held up: time went by, and nothing expired. */
  skip(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

/** A memory card of 64 KiB, and a driver at its registers. */
export class Bench {
  readonly clock = new Clock();
  readonly task = new Task("driver");
  readonly card: MemoryCard;
  readonly device: PciDevice;
  readonly #buffer = new Uint8Array(4);
  readonly #view = new DataView(this.#buffer.buffer);

  constructor(options: { size?: number; dirtyRate?: number } = {}) {
    let card!: MemoryCard;
    const { clock } = this;
    this.device = new PciDevice(
      memoryCard({ size: SIZE, clock, plugged: (made) => (card = made), ...options }),
    );
    this.card = card;
    this.enableMemory();
  }

  enableMemory(): void {
    this.#view.setUint32(0, PciCommand.MEMORY, true);
    void this.device.writeRegion(this.task, RegionIndex.CONFIG, PciHeader.COMMAND, 2, this.#buffer, 0);
  }

  read(register: number): number {
    void this.device.readRegion(this.task, RegionIndex.BAR0, register, 4, this.#buffer, 0);
    return this.#view.getUint32(0, true);
  }

  write(register: number, value: number): void {
    this.#view.setUint32(0, value, true);
    void this.device.writeRegion(this.task, RegionIndex.BAR0, register, 4, this.#buffer, 0);
  }

  fill(page: number, count: number, seed: number): void {
    this.write(reg.PAGE, page);
    this.write(reg.COUNT, count);
    this.write(reg.SEED, seed);
    this.write(reg.COMMAND, reg.COMMAND_FILL);
  }

  /** STATUS after VERIFY. */
  verify(): number {
    this.write(reg.COMMAND, reg.COMMAND_VERIFY);
    return this.read(reg.STATUS);
  }
}
