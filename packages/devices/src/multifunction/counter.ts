import {
  bool,
  sections,
  u16,
  u32,
  type FunctionHost,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import type { Clock, Timer } from "../serial/index.js";
import {
  ADDRESS_HIGH,
  ADDRESS_LOW,
  COMPARE,
  CONTROL,
  CONTROL_ENABLE,
  CONTROL_INTERRUPT,
  CONTROL_MASK,
  COUNT,
  PERIOD,
  PERIOD_MASK,
  PERIOD_POWER_ON,
  STATUS,
  STATUS_DMA_ERROR,
  STATUS_MASK,
  STATUS_MATCH,
} from "./registers.js";

/**
 * A counter: it counts while it is enabled, and when COUNT becomes COMPARE it writes COUNT to memory, sets MATCH, and
 * interrupts. All registers have 32 bits and are accessed whole.
 */
export class Counter implements PciFunction {
  private control = 0;
  private period = PERIOD_POWER_ON;
  private count = 0;
  private compare = 0;
  private status = 0;
  private addressLow = 0;
  private addressHigh = 0;

  private readonly timer: Timer;
  private stopped = false;
  /** There was a match, and COUNT is not in memory yet: until then the counter stands. */
  private writing = false;
  /** That write, while it is under way here. A device that is loaded in the middle of one does it again. */
  private underWay: object | undefined;

  constructor(
    private readonly host: FunctionHost,
    clock: Clock,
  ) {
    this.timer = clock.timer(() => this.tick());
  }

  read(_bar: number, offset: number, size: number): number {
    if (size !== 4) return 0;
    switch (offset) {
      case CONTROL:
        return this.control;
      case PERIOD:
        return this.period;
      case COUNT:
        return this.count;
      case COMPARE:
        return this.compare;
      case STATUS:
        return this.status;
      case ADDRESS_LOW:
        return this.addressLow;
      case ADDRESS_HIGH:
        return this.addressHigh;
      default:
        return 0;
    }
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    if (size !== 4) return;
    switch (offset) {
      case CONTROL:
        this.control = value & CONTROL_MASK;
        this.schedule();
        this.updateLine();
        break;
      case PERIOD:
        this.period = value & PERIOD_MASK;
        this.schedule();
        break;
      case COUNT:
        this.count = value;
        break;
      case COMPARE:
        this.compare = value;
        break;
      case STATUS: // write 1 to clear
        this.status &= ~value;
        this.updateLine();
        break;
      case ADDRESS_LOW:
        this.addressLow = value;
        break;
      case ADDRESS_HIGH:
        this.addressHigh = value;
        break;
    }
  }

  reset(): void {
    this.writing = false;
    this.underWay = undefined;
    this.control = 0;
    this.period = PERIOD_POWER_ON;
    this.count = 0;
    this.compare = 0;
    this.status = 0;
    this.addressLow = 0;
    this.addressHigh = 0;
    this.schedule();
    this.updateLine();
  }

  readonly state: StateSections = sections({
    control: u32(
      () => this.control,
      (value) => (this.control = value & CONTROL_MASK),
    ),
    period: u16(
      () => this.period,
      (value) => (this.period = value),
    ),
    count: u32(
      () => this.count,
      (value) => (this.count = value),
    ),
    compare: u32(
      () => this.compare,
      (value) => (this.compare = value),
    ),
    status: u32(
      () => this.status,
      (value) => (this.status = value & STATUS_MASK),
    ),
    addressLow: u32(
      () => this.addressLow,
      (value) => (this.addressLow = value),
    ),
    addressHigh: u32(
      () => this.addressHigh,
      (value) => (this.addressHigh = value),
    ),
    writing: bool(
      () => this.writing,
      (value) => {
        this.writing = value;
        this.underWay = undefined;
      },
    ),
  });

  stop(): void {
    this.stopped = true;
    this.schedule();
  }

  run(): void {
    this.stopped = false;
    this.schedule();
    if (this.writing && !this.underWay) this.writeCount();
  }

  close(): void {
    this.timer.stop();
  }

  private schedule(): void {
    const counts = !this.stopped && !this.writing && (this.control & CONTROL_ENABLE) !== 0;
    if (counts) this.timer.start(Math.max(this.period, 1));
    else this.timer.stop();
  }

  private tick(): void {
    this.count = (this.count + 1) >>> 0;
    if (this.count === this.compare) this.match();
    this.schedule();
  }

  private match(): void {
    if (this.addressLow === 0 && this.addressHigh === 0) this.setStatus(STATUS_MATCH);
    else this.writeCount();
  }

  /** Memory first: software that was interrupted finds it written. */
  private writeCount(): void {
    const write = {};
    this.writing = true;
    this.underWay = write;
    const done = (status: number) => {
      if (this.underWay !== write) return; // a reset came in between
      this.writing = false;
      this.underWay = undefined;
      this.setStatus(status);
      this.schedule();
    };
    const succeeded = () => done(STATUS_MATCH);
    const failed = () => done(STATUS_MATCH | STATUS_DMA_ERROR);
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, this.count, true);
    const address = (BigInt(this.addressHigh) << 32n) | BigInt(this.addressLow);
    try {
      const wait = this.host.dma.write(address, bytes);
      if (wait) wait.then(succeeded, failed);
      else succeeded();
    } catch {
      failed();
    }
  }

  private setStatus(bits: number): void {
    this.status |= bits;
    this.updateLine();
    // PCIe 6.0 §6.1.4: messages, where software has enabled them, take the line's place.
    if (this.control & CONTROL_INTERRUPT && this.host.msi.enabled) this.host.msi.raise(0);
  }

  private updateLine(): void {
    const pending = (this.control & CONTROL_INTERRUPT) !== 0 && (this.status & STATUS_MATCH) !== 0;
    this.host.intx.set(pending && !this.host.msi.enabled);
  }
}
