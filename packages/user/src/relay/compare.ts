import { VfioError } from "@vfiokit/core";
import { RegionFlags } from "@vfiokit/core/host";
import { DeviceInfo, IrqInfo, type Capabilities } from "../wire/index.js";
import { withinLimits } from "./negotiation.js";
import type { ServerLink } from "./server-link.js";

/** What a client may ask a device, and was told once for all: QEMU asks when it starts, and never again. */
export interface DeviceShape {
  readonly numRegions: number;
  readonly numIrqs: number;
  readonly deviceFlags: number;
  readonly regions: readonly { readonly flags: number; readonly size: bigint }[];
  readonly irqs: readonly { readonly flags: number; readonly count: number }[];
  readonly capabilities: Capabilities;
}

/** Regions of a device, and its irq indices: VFIO's PCI devices have 9 and 5, and a few of their own. */
const MAX_INDICES = 256;
/** Room for the capabilities of any region. */
const REGION_ARGSZ = 4096;
/** Flags of a region that the client was told. */
const REGION_FLAGS = RegionFlags.READ | RegionFlags.WRITE;

/** Asks a server about its device. */
export async function shapeOf(link: ServerLink): Promise<DeviceShape> {
  const info = await link.call("DEVICE_GET_INFO", {
    argsz: DeviceInfo.size,
    flags: 0,
    num_regions: 0,
    num_irqs: 0,
  });
  for (const field of ["num_regions", "num_irqs"] as const)
    if (info[field] > MAX_INDICES)
      throw new VfioError("EPROTO", `${link.path}: ${field} is ${info[field]}: at most ${MAX_INDICES}`);
  const regions = Array.from({ length: info.num_regions }, async (_, index) => {
    const request = { argsz: REGION_ARGSZ, flags: 0, index, cap_offset: 0, size: 0n, offset: 0n };
    const { flags, size } = await link.call("DEVICE_GET_REGION_INFO", request);
    return { flags: flags & REGION_FLAGS, size };
  });
  const irqs = Array.from({ length: info.num_irqs }, async (_, index) => {
    const { flags, count } = await link.call("DEVICE_GET_IRQ_INFO", {
      argsz: IrqInfo.size,
      flags: 0,
      index,
      count: 0,
    });
    return { flags, count };
  });
  // Awaited as one: the server may go at any of them.
  const [ofRegions, ofIrqs] = await Promise.all([Promise.all(regions), Promise.all(irqs)]);
  return {
    numRegions: info.num_regions,
    numIrqs: info.num_irqs,
    deviceFlags: info.flags,
    regions: ofRegions,
    irqs: ofIrqs,
    capabilities: withinLimits(link.capabilities),
  };
}

/**
 * Whether the client could go on with `next` without noticing: all that it was told still holds.
 * @param path of the next server, for messages
 * @throws VfioError EINVAL naming the field and both values
 */
export function assertSameShape(known: DeviceShape, next: DeviceShape, path: string): void {
  const same = (field: string, before: unknown, after: unknown): void => {
    if (before !== after) throw differs(field, before, after, path);
  };
  const atLeast = (field: string, before: number, after: number): void => {
    if (after < before) throw differs(field, before, after, `${path}, and must not be less`);
  };
  same("device flags", hex(known.deviceFlags), hex(next.deviceFlags));
  atLeast("number of regions", known.numRegions, next.numRegions);
  atLeast("number of irq indices", known.numIrqs, next.numIrqs);
  known.regions.forEach(({ flags, size }, index) => {
    same(`size of region ${index}`, size, next.regions[index]!.size);
    same(`flags of region ${index}`, hex(flags), hex(next.regions[index]!.flags));
  });
  known.irqs.forEach(({ flags, count }, index) => {
    same(`count of irq index ${index}`, count, next.irqs[index]!.count);
    same(`flags of irq index ${index}`, hex(flags), hex(next.irqs[index]!.flags));
  });
  for (const limit of ["max_data_xfer_size", "max_msg_fds", "max_dma_maps"] as const)
    atLeast(limit, known.capabilities[limit]!, next.capabilities[limit]!);
  const lost = BigInt(known.capabilities.pgsizes!) & ~BigInt(next.capabilities.pgsizes!);
  if (lost !== 0n) same("pgsizes", known.capabilities.pgsizes, next.capabilities.pgsizes);
  if (known.capabilities.write_multiple === true)
    same("write_multiple", true, next.capabilities.write_multiple ?? false);
}

function differs(field: string, before: unknown, after: unknown, where: string): VfioError {
  return new VfioError(
    "EINVAL",
    `the client was told that ${field} is ${String(before)}: it is ${String(after)} at ${where}`,
  );
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
