import {
  aer,
  definePciDevice,
  express,
  memory,
  mmio,
  msi,
  msix,
  msixTable,
  pm,
  VfioError,
  type PciDeviceDefinition,
} from "@vfiokit/core";
import { systemClock, type Clock } from "../clock/index.js";
import { Counter } from "./counter.js";

/** PCI: the function number has three bits. */
const MAX_FUNCTIONS = 8;
const PINS = ["A", "B", "C", "D"] as const;

const SCRATCH_BAR = 2;
const PAGE_SIZE = 4096;

const MSIX_BAR = 4;
/** The counter interrupts with vector 0. The others are there for software to mask and trigger. */
const MSIX_VECTORS = 4;

/** Memory in BAR 2, four pages, by what a client may map of it: all, or the pages 1 and 3. */
const scratchBars = {
  whole: memory({ slot: SCRATCH_BAR, size: 4 * PAGE_SIZE }),
  sparse: memory({
    slot: SCRATCH_BAR,
    size: 4 * PAGE_SIZE,
    mappable: [1, 3].map((page) => ({ offset: page * PAGE_SIZE, size: PAGE_SIZE })),
  }),
} as const;

/** How clients reach the scratch memory: by mapping all of it, or parts and the rest by messages. */
export type Scratch = keyof typeof scratchBars;

/** What `counterCard` can be told. */
export interface CounterCardOptions {
  /** 1 to 8. */
  readonly functions: number;
  /** Gives each function memory in BAR 2 that clients can map. Default: none. */
  readonly scratch?: Scratch;
  /** Gives each function MSI-X beside MSI, with its table in BAR 4. Default: MSI alone. */
  readonly msix?: boolean;
  readonly clock?: Clock;
}

/**
 * A PCI Express card of several functions, a counter each. They are reset one by one (FLR), and all together by a hot
 * reset if their devices are given one `DeviceSet`.
 * @throws VfioError EINVAL
 */
export function counterCard(options: CounterCardOptions): PciDeviceDefinition[] {
  const { functions, scratch, msix: hasMsix = false, clock = systemClock } = options;
  if (!Number.isInteger(functions) || functions < 1 || functions > MAX_FUNCTIONS)
    throw new VfioError("EINVAL", `functions ${functions}: a card has 1 to ${MAX_FUNCTIONS}`);
  return Array.from({ length: functions }, (_, number) =>
    definePciDevice({
      name: functions > 1 ? `counter.${number}` : "counter",
      // Class: other system peripheral.
      id: { vendor: 0x1b36, device: 0x0102, classCode: 0x088000 },
      bars: [
        mmio({ size: 0x1000 }),
        ...(scratch ? [scratchBars[scratch]] : []),
        ...(hasMsix ? [msixTable({ vectors: MSIX_VECTORS, slot: MSIX_BAR })] : []),
      ],
      // PCI 3.0 §6.2.4: functions share the four pins of their card as they like.
      interruptPin: PINS[number % PINS.length]!,
      capabilities: [
        pm(),
        express({ flr: true }),
        msi(),
        ...(hasMsix ? [msix({ vectors: MSIX_VECTORS, bar: MSIX_BAR })] : []),
        aer(),
      ],
      multifunction: functions > 1,
      create: (host) => new Counter(host, clock, scratch && host.memory(SCRATCH_BAR)),
    }),
  );
}
