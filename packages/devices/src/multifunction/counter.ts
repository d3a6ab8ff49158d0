import {
  bool,
  registers,
  rw,
  rw1c,
  sections,
  type FunctionHost,
  type InterruptMessages,
  type PciFunction,
  type StateSections,
} from "@vfiokit/core";
import type { Clock, Timer } from "../clock/index.js";
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
  private readonly registers = registers(
    {
      control: rw(CONTROL, { mask: CONTROL_MASK }),
      period: rw(PERIOD, { mask: PERIOD_MASK, reset: PERIOD_POWER_ON, stream: "u16" }),
      count: rw(COUNT),
      compare: rw(COMPARE),
      status: rw1c(STATUS, { mask: STATUS_MASK }),
      addressLow: rw(ADDRESS_LOW),
      addressHigh: rw(ADDRESS_HIGH),
    },
    {
      control: {
        written: () => {
          this.schedule();
          this.updateLine();
        },
      },
      period: { written: () => this.schedule() },
      status: { written: () => this.updateLine() },
    },
  );
  /** Of the registers. */
  private readonly values = this.registers.values;

  private readonly timer: Timer;
  private stopped = false;
  /** There was a match, and COUNT is not in memory yet: until then the counter stands. */
  private writing = false;
  /** That write, while it is under way here. A device that is loaded in the middle of one does it again. */
  private underWay: object | undefined;

  /** @param scratch memory without a meaning to the counter, which software may use as it likes */
  constructor(
    private readonly host: FunctionHost,
    clock: Clock,
    private readonly scratch?: Uint8Array,
  ) {
    this.timer = clock.timer(host.guard("timer", () => this.tick()));
  }

  read(_bar: number, offset: number, size: number): number {
    return this.registers.read(offset, size);
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    this.registers.write(offset, value, size);
  }

  reset(): void {
    this.writing = false;
    this.underWay = undefined;
    this.registers.reset();
    // PCIe 6.0 §6.6.2: what it held must not be seen after a reset.
    this.scratch?.fill(0);
    this.schedule();
    this.updateLine();
  }

  readonly state: StateSections = sections({
    ...this.registers.fields,
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
    const counts = !this.stopped && !this.writing && (this.values.control & CONTROL_ENABLE) !== 0;
    if (counts) this.timer.start(Math.max(this.values.period, 1));
    else this.timer.stop();
  }

  private tick(): void {
    this.values.count = (this.values.count + 1) >>> 0;
    if (this.values.count === this.values.compare) this.match();
    this.schedule();
  }

  private match(): void {
    if (this.values.addressLow === 0 && this.values.addressHigh === 0) this.setStatus(STATUS_MATCH);
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
    new DataView(bytes.buffer).setUint32(0, this.values.count, true);
    const address = (BigInt(this.values.addressHigh) << 32n) | BigInt(this.values.addressLow);
    try {
      const wait = this.host.dma.write(address, bytes);
      if (wait) wait.then(succeeded, failed);
      else succeeded();
    } catch {
      failed();
    }
  }

  private setStatus(bits: number): void {
    this.values.status |= bits;
    this.updateLine();
    if (this.values.control & CONTROL_INTERRUPT) this.messages?.raise(0);
  }

  private updateLine(): void {
    const pending =
      (this.values.control & CONTROL_INTERRUPT) !== 0 && (this.values.status & STATUS_MATCH) !== 0;
    this.host.intx.set(pending && !this.messages);
  }

  /** PCIe 6.0 §6.1.4: messages take the line's place where software has enabled them, and it enables one kind. */
  private get messages(): InterruptMessages | undefined {
    const { msi, msix } = this.host;
    if (msix.enabled) return msix;
    return msi.enabled ? msi : undefined;
  }
}
