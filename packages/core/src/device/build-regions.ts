import type { Bar, ConfigSpace, MsixCapability, MsixTable, Rom } from "../pci/index.js";
import { PciMsixEntry, msixPbaSize } from "../pci/index.js";
import type { SharedMemory } from "../memory.js";
import type { DeviceFaults } from "./faults.js";
import type { PciFunction } from "./function.js";
import { RegionFlags, RegionIndex, type RegionInfo } from "../uapi.js";
import {
  MemoryRegion,
  OverlayRegion,
  RegisterRegion,
  RomRegion,
  TableRegion,
  type RegionHandler,
} from "./region.js";

/** A VFIO region with what answers it. */
export interface Region {
  readonly info: RegionInfo;
  readonly handler: RegionHandler;
  /** A BAR in memory space: answers only while memory is enabled and the function is in D0. */
  readonly needsMemory: boolean;
}

interface Parts {
  readonly bars: readonly (Bar | undefined)[];
  readonly rom: Rom | undefined;
  readonly config: ConfigSpace;
  /** By BAR number: the bytes of memory-like BARs. */
  readonly memories: readonly (SharedMemory | undefined)[];
  readonly faults: DeviceFaults;
  readonly msix: { readonly capability: MsixCapability; readonly table: MsixTable } | undefined;
}

/** The regions of a PCI device by VFIO region index; undefined where it has none. */
export function buildRegions(
  name: string,
  device: PciFunction,
  parts: Parts,
): readonly (Region | undefined)[] {
  const regions: (Region | undefined)[] = parts.bars.map((bar) => bar && barRegion(name, device, bar, parts));
  const { rom, config } = parts;
  regions[RegionIndex.ROM] = rom && {
    info: info(RegionIndex.ROM, RegionFlags.READ, rom.size),
    handler: new RomRegion(rom.bytes),
    needsMemory: false,
  };
  regions[RegionIndex.CONFIG] = {
    info: info(RegionIndex.CONFIG, RegionFlags.READ | RegionFlags.WRITE, config.size),
    handler: {
      read: (offset, count, into, at) => config.read(offset, count, into, at),
      write: () => {
        throw new Error("configuration space is written through PciDevice, which acts on the effects");
      },
    },
    needsMemory: false,
  };
  return regions;
}

function info(index: number, flags: number, size: number): RegionInfo {
  return { index, flags, size, fd: undefined, mmapAreas: [], ioEvents: [] };
}

function barRegion(name: string, device: PciFunction, bar: Bar, parts: Parts): Region {
  const { slot, declaration } = bar;
  const memory = parts.memories[slot];
  const access = RegionFlags.READ | RegionFlags.WRITE;
  if (declaration.kind === "memory" && memory) {
    const mappable = memory.fd !== undefined && declaration.mappable.length > 0;
    return {
      info: {
        ...info(slot, access | (mappable ? RegionFlags.MMAP : 0), declaration.size),
        fd: mappable ? memory.fd : undefined,
        mmapAreas: mappable ? declaration.mappable : [],
      },
      handler: withMsix(slot, new MemoryRegion(memory.bytes), parts),
      needsMemory: true,
    };
  }
  const onlyMsix = !device.read && isMsixBar(slot, parts);
  const registers = onlyMsix ? emptyRegion : new RegisterRegion(name, slot, device, parts.faults);
  return {
    info: {
      ...info(slot, access, declaration.size),
      ioEvents: declaration.kind === "memory" ? [] : declaration.ioEvents,
    },
    handler: withMsix(slot, registers, parts),
    needsMemory: declaration.kind !== "io",
  };
}

/** What no register answers: reads as 0, drops writes. */
const emptyRegion: RegionHandler = {
  read: (_offset, count, into, at) => into.fill(0, at, at + count),
  write: () => undefined,
};

function isMsixBar(slot: number, { msix }: Parts): boolean {
  return msix !== undefined && (msix.capability.table.bar === slot || msix.capability.pba.bar === slot);
}

/** Lays the MSI-X table and pending bits over the BARs that carry them. */
function withMsix(slot: number, below: RegionHandler, { msix }: Parts): RegionHandler {
  if (!msix) return below;
  const { capability, table } = msix;
  let handler = below;
  if (capability.table.bar === slot) {
    const { offset } = capability.table;
    const entries = new TableRegion({
      read: (_bar, at, size) => table.readTable(at, size),
      write: (_bar, at, value, size) => table.writeTable(at, value, size),
    });
    handler = new OverlayRegion(handler, offset, offset + capability.vectors * PciMsixEntry.SIZE, entries);
  }
  if (capability.pba.bar === slot) {
    const { offset } = capability.pba;
    const pending = new TableRegion({
      read: (_bar, at, size) => table.readPba(at, size),
      write: () => undefined, // PCI 3.0 §6.8.2: software should never write, and writes do nothing
    });
    handler = new OverlayRegion(handler, offset, offset + msixPbaSize(capability.vectors), pending);
  }
  return handler;
}
