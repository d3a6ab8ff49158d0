import type { ConfigDescription } from "@vfiokit/core/pci";
import { MigrationFlags } from "@vfiokit/core/migration";
import { IrqFlags, RegionFlags } from "@vfiokit/core/host";

/** Everything that a vfio-user server, or the kernel, says about a device: plain data, ready for JSON. */
export interface DeviceReport {
  /** Of a server, as are `protocol` and `limits`. */
  readonly socket?: string;
  /** "0.1" */
  readonly protocol?: string;
  readonly limits?: Limits;
  /** Of a device of the kernel's VFIO, as is `kernel`: "vfio:0000:01:00.0". */
  readonly address?: string;
  readonly kernel?: { readonly iommu: "type1v2" | "iommufd" };
  readonly device: { readonly pci: boolean; readonly reset: boolean };
  /** Undefined where the configuration space cannot be read, or is none of PCI. */
  readonly config?: ConfigDescription;
  /** Regions and interrupts that the device has. */
  readonly regions: readonly RegionReport[];
  readonly irqs: readonly IrqReport[];
  readonly features: readonly FeatureReport[];
  readonly migration?: MigrationReport;
}

/** What the server stated in its VERSION reply, or what holds where it stated nothing. */
export interface Limits {
  readonly maxMsgFds: number;
  /** Bytes. */
  readonly maxDataXferSize: number;
  readonly maxDmaMaps: number;
  /** Page sizes of DMA maps, or'ed. */
  readonly pgsizes: number;
  readonly twinSocket: boolean;
  readonly writeMultiple: boolean;
}

/** One region: a BAR, configuration space … */
export interface RegionReport {
  readonly index: number;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly mmap: boolean;
  /** The parts that may be mapped; absent with `mmap`: all of it. */
  readonly areas?: readonly { readonly offset: number; readonly size: number }[];
}

/** One kind of interrupt: INTx, MSI, MSI-X, ERR or REQ. */
export interface IrqReport {
  readonly index: number;
  readonly name: string;
  readonly count: number;
  readonly eventfd: boolean;
  readonly maskable: boolean;
  readonly automasked: boolean;
  readonly noresize: boolean;
}

/** A device feature of vfio-user, and whether the server has it. */
export interface FeatureReport {
  readonly name: string;
  readonly get: boolean;
  readonly set: boolean;
}

/** What the device says of its migration. */
export interface MigrationReport {
  readonly stopCopy: boolean;
  readonly p2p: boolean;
  readonly preCopy: boolean;
  readonly state: string;
  /** Estimated bytes of the image; absent where the server does not say. */
  readonly size?: number;
}

const REGION_NAMES = ["BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5", "ROM", "config", "VGA"];
const IRQ_NAMES = ["INTx", "MSI", "MSI-X", "ERR", "REQ"];

export function regionReport(
  index: number,
  flags: number,
  size: number,
  areas: readonly { offset: number; size: number }[],
): RegionReport {
  const mmap = (flags & RegionFlags.MMAP) !== 0;
  return {
    index,
    name: REGION_NAMES[index] ?? `region ${index}`,
    size,
    read: (flags & RegionFlags.READ) !== 0,
    write: (flags & RegionFlags.WRITE) !== 0,
    mmap,
    ...(mmap && areas.length > 0 ? { areas } : {}),
  };
}

export function irqReport(index: number, flags: number, count: number): IrqReport {
  return {
    index,
    name: IRQ_NAMES[index] ?? `irq ${index}`,
    count,
    eventfd: (flags & IrqFlags.EVENTFD) !== 0,
    maskable: (flags & IrqFlags.MASKABLE) !== 0,
    automasked: (flags & IrqFlags.AUTOMASKED) !== 0,
    noresize: (flags & IrqFlags.NORESIZE) !== 0,
  };
}

export function migrationReport(flags: number, state: string, size: number | undefined): MigrationReport {
  const has = (flag: number) => (flags & flag) !== 0;
  return {
    stopCopy: has(MigrationFlags.STOP_COPY),
    p2p: has(MigrationFlags.P2P),
    preCopy: has(MigrationFlags.PRE_COPY),
    state,
    ...(size === undefined ? {} : { size }),
  };
}
