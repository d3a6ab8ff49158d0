import {
  af,
  aer,
  definePciDevice,
  express,
  memory,
  mmio,
  msix,
  msixTable,
  pm,
  sections,
  u32,
  type FunctionHost,
  type PciFunction,
} from "@vfiokit/core";

export const VALUE = 0x0;
export const DOORBELL = 0x4;

export const BAR_REGISTERS = 0;
export const BAR_MEMORY = 2;
export const BAR_MSIX = 4;

/** A device with one of everything: registers, memory, MSI-X, INTx, power management, both kinds of FLR. */
export class Counter implements PciFunction {
  value = 0;
  /** Every call, in order. */
  readonly calls: string[] = [];
  failReset = false;

  constructor(readonly host: FunctionHost) {}

  read(bar: number, offset: number, size: number): number {
    this.calls.push(`read${size * 8} ${bar}:${offset.toString(16)}`);
    return offset === VALUE ? this.value : 0;
  }

  write(bar: number, offset: number, value: number, size: number): void {
    this.calls.push(`write${size * 8} ${bar}:${offset.toString(16)}=${value.toString(16)}`);
    if (offset === VALUE) this.value = value;
    if (offset === DOORBELL) this.host.intx.raise();
  }

  reset(): void {
    if (this.failReset) throw new Error("the firmware does not answer");
    this.calls.push("reset");
    this.value = 0;
  }

  stop(): void {
    this.calls.push("stop");
  }

  run(): void {
    this.calls.push("run");
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
  });
}

/** The definition, and the functions that it has made. */
export function counterDefinition(options: { noSoftReset?: boolean } = {}) {
  const made: Counter[] = [];
  const definition = definePciDevice({
    name: "counter",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [
      mmio({ size: 0x1000, slot: 0 }),
      memory({ size: 0x2000, slot: 2 }),
      msixTable({ vectors: 4, slot: 4 }),
    ],
    interruptPin: "A",
    capabilities: [
      pm({ noSoftReset: options.noSoftReset ?? true }),
      express({ flr: true }),
      af(),
      msix({ vectors: 4, bar: BAR_MSIX }),
      aer(),
    ],
    create: (host) => {
      const counter = new Counter(host);
      made.push(counter);
      return counter;
    },
  });
  return { definition, made };
}
