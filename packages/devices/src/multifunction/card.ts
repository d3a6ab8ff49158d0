import {
  aer,
  definePciDevice,
  express,
  mmio,
  msi,
  pm,
  VfioError,
  type PciDeviceDefinition,
} from "@vfiokit/core";
import { systemClock, type Clock } from "../clock/index.js";
import { Counter } from "./counter.js";

/** PCI: the function number has three bits. */
const MAX_FUNCTIONS = 8;
const PINS = ["A", "B", "C", "D"] as const;

/** What `counterCard` can be told. */
export interface CounterCardOptions {
  /** 1 to 8. */
  readonly functions: number;
  readonly clock?: Clock;
}

/**
 * A PCI Express card of several functions, a counter each. They are reset one by one (FLR), and all together by a hot
 * reset if their devices are given one `DeviceSet`.
 * @throws VfioError EINVAL
 */
export function counterCard({ functions, clock = systemClock }: CounterCardOptions): PciDeviceDefinition[] {
  if (!Number.isInteger(functions) || functions < 1 || functions > MAX_FUNCTIONS)
    throw new VfioError("EINVAL", `functions ${functions}: a card has 1 to ${MAX_FUNCTIONS}`);
  return Array.from({ length: functions }, (_, number) =>
    definePciDevice({
      name: functions > 1 ? `counter.${number}` : "counter",
      // Class: other system peripheral.
      id: { vendor: 0x1b36, device: 0x0102, classCode: 0x088000 },
      bars: [mmio({ size: 0x1000 })],
      // PCI 3.0 §6.2.4: functions share the four pins of their card as they like.
      interruptPin: PINS[number % PINS.length]!,
      capabilities: [pm(), express({ flr: true }), msi(), aer()],
      multifunction: functions > 1,
      create: (host) => new Counter(host, clock),
    }),
  );
}
