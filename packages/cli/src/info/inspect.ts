import { RegionIndex } from "@vfiokit/core";
import { describeConfig, type ConfigDescription } from "@vfiokit/core/pci";
import { DeviceFlags, RegionFlags } from "@vfiokit/core/host";
import type { Limits as Negotiated, VfioDevice } from "@vfiokit/user";
import { KernelDevice } from "@vfiokit/user/kernel";
import { Feature, capabilityDefaults } from "@vfiokit/user/wire";
import { connectDevice } from "../shared/connect-device.js";
import {
  irqReport,
  migrationReport,
  regionReport,
  type DeviceReport,
  type FeatureReport,
  type IrqReport,
  type Limits,
  type MigrationReport,
  type RegionReport,
} from "./report.js";

const CONFIG_SPACE_SIZE = 256;
const CONFIG_SPACE_EXP_SIZE = 4096;
/**
 * Asks the server at a path, or the kernel about a device of its own, for everything about it. Only reads.
 * @param timeoutMs for each answer
 * @throws CommandError, SyscallError, VfioError
 */
export async function inspect(name: string, timeoutMs = 10_000): Promise<DeviceReport> {
  using client = await connectDevice(name, timeoutMs);
  const { flags, numRegions, numIrqs } = await client.getInfo();
  const pci = (flags & DeviceFlags.PCI) !== 0;
  const regions = await allRegions(client, numRegions);
  const features = await allFeatures(client);
  const config = pci ? await readConfig(client, regions) : undefined;
  const migration = features.some(({ name }) => name === "MIGRATION") ? await migrationOf(client) : undefined;
  return {
    ...(client instanceof KernelDevice
      ? { address: name, kernel: { iommu: client.mode } }
      : { socket: name, protocol: client.limits.version, limits: limitsOf(client.limits) }),
    device: { pci, reset: (flags & DeviceFlags.RESET) !== 0 },
    ...(config && { config }),
    regions: regions.filter(({ size }) => size > 0),
    irqs: (await allIrqs(client, numIrqs)).filter(({ count }) => count > 0),
    features,
    ...(migration && { migration }),
  };
}

/** What the server said, and not what it comes to together with our own limits. */
function limitsOf({
  maxMsgFds,
  maxDmaMaps,
  pgsizes,
  twinSocket,
  writeMultiple,
  capabilities,
}: Negotiated): Limits {
  return {
    maxMsgFds,
    maxDataXferSize: capabilities.max_data_xfer_size ?? capabilityDefaults.max_data_xfer_size,
    maxDmaMaps,
    pgsizes: Number(pgsizes),
    twinSocket,
    writeMultiple,
  };
}

async function allRegions(client: VfioDevice, count: number): Promise<RegionReport[]> {
  const regions: RegionReport[] = [];
  for (let index = 0; index < count; index++) {
    const { flags, size, mmapAreas } = await client.getRegionInfo(index);
    const whole = mmapAreas.length === 1 && mmapAreas[0]!.size === size;
    const shown = mmapAreas.length === 0 ? flags & ~RegionFlags.MMAP : flags;
    regions.push(regionReport(index, shown, size, whole ? [] : mmapAreas));
  }
  return regions;
}

async function allIrqs(client: VfioDevice, count: number): Promise<IrqReport[]> {
  const irqs: IrqReport[] = [];
  for (let index = 0; index < count; index++) {
    const { flags, count } = await client.getIrqInfo(index);
    irqs.push(irqReport(index, flags, count));
  }
  return irqs;
}

async function allFeatures(client: VfioDevice): Promise<FeatureReport[]> {
  const features: FeatureReport[] = [];
  for (const [name, feature] of Object.entries(Feature)) {
    const get = await client.migration.probe(feature, "get");
    const set = await client.migration.probe(feature, "set");
    if (get || set) features.push({ name, get, set });
  }
  return features;
}

async function migrationOf(client: VfioDevice): Promise<MigrationReport> {
  const flags = await client.migration.flags();
  const state = await client.migration.state();
  const hasSize = await client.migration.probe(Feature.MIG_DATA_SIZE, "get");
  const size = hasSize ? Number(await client.migration.dataSize()) : undefined;
  return migrationReport(flags, state, size);
}

async function readConfig(
  client: VfioDevice,
  regions: readonly RegionReport[],
): Promise<ConfigDescription | undefined> {
  const region = regions[RegionIndex.CONFIG];
  if (!region || !region.read || region.size < CONFIG_SPACE_SIZE) return undefined;
  const bytes = new Uint8Array(Math.min(region.size, CONFIG_SPACE_EXP_SIZE));
  await client.regionRead(RegionIndex.CONFIG, 0, bytes);
  return describeConfig(bytes, regions.map(({ size }) => size).slice(0, RegionIndex.CONFIG));
}
