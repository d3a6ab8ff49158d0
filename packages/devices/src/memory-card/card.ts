import { definePciDevice, express, mmio, pm, VfioError, type PciDeviceDefinition } from "@vfiokit/core";
import { systemClock, type WallClock } from "../clock/index.js";
import { MemoryCard, PAGE_SIZE } from "./memory-card.js";

const MAX_SIZE = 4 * 1024 ** 3;
const MAX_RATE = 2 ** 32 - 1;

/** What `memoryCard` can be told. */
export interface MemoryCardOptions {
  /** Bytes of memory: a multiple of 4 KiB, up to 4 GiB. Default: 64 MiB. */
  readonly size?: number;
  /** Bytes a second that the card writes by itself until software sets another rate. Default: 0. */
  readonly dirtyRate?: number;
  readonly clock?: WallClock;
  /** Gets the card behind the registers. */
  readonly plugged?: (card: MemoryCard) => void;
}

/**
 * A PCI Express card with memory of its own, which migrates while the card writes it.
 * @throws VfioError EINVAL
 */
export function memoryCard(options: MemoryCardOptions = {}): PciDeviceDefinition {
  const { size = 64 * 1024 ** 2, dirtyRate = 0, plugged } = options;
  if (!Number.isInteger(size / PAGE_SIZE) || size <= 0 || size > MAX_SIZE)
    throw new VfioError("EINVAL", `size ${size}: a multiple of ${PAGE_SIZE} bytes, up to ${MAX_SIZE}`);
  if (!Number.isInteger(dirtyRate) || dirtyRate < 0 || dirtyRate > MAX_RATE)
    throw new VfioError("EINVAL", `dirtyRate ${dirtyRate}: whole bytes a second, up to ${MAX_RATE}`);
  const clock = options.clock ?? systemClock;
  return definePciDevice({
    name: "memory-card",
    // Class: other memory controller.
    id: { vendor: 0x1b36, device: 0x0103, classCode: 0x058000 },
    bars: [mmio({ size: 0x1000 })],
    capabilities: [pm(), express({ flr: true })],
    create: (host) => {
      const card = new MemoryCard(size, dirtyRate, clock, host);
      plugged?.(card);
      return card;
    },
  });
}
