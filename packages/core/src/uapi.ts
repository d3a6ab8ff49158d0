/** Flags, indices and infos of the VFIO uAPI (include/uapi/linux/vfio.h) that a transport passes on. */

export const DeviceFlags = { RESET: 1 << 0, PCI: 1 << 1 } as const;

/** VFIO_PCI_*_REGION_INDEX: the regions of a PCI device. */
export const RegionIndex = {
  BAR0: 0,
  BAR1: 1,
  BAR2: 2,
  BAR3: 3,
  BAR4: 4,
  BAR5: 5,
  ROM: 6,
  CONFIG: 7,
  VGA: 8,
} as const;
/** VFIO_PCI_NUM_REGIONS: regions of a PCI device. */
export const NUM_REGIONS = 9;

/** VFIO_REGION_INFO_FLAG_*: what a region can do. */
export const RegionFlags = { READ: 1 << 0, WRITE: 1 << 1, MMAP: 1 << 2, CAPS: 1 << 3 } as const;

/** VFIO_PCI_*_IRQ_INDEX: the kinds of interrupts of a PCI device. */
export const IrqIndex = { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 } as const;
/** VFIO_PCI_NUM_IRQS: kinds of interrupts. */
export const NUM_IRQS = 5;

/** VFIO_IRQ_INFO_*: what a kind of interrupt can do. */
export const IrqFlags = { EVENTFD: 1 << 0, MASKABLE: 1 << 1, AUTOMASKED: 1 << 2, NORESIZE: 1 << 3 } as const;

/** VFIO_DEVICE_GET_INFO: flags, and how many regions and kinds of interrupts. */
export interface DeviceInfo {
  readonly flags: number;
  readonly numRegions: number;
  readonly numIrqs: number;
}

/** A part of a region that a client may map. Bytes; page-aligned. */
export interface MmapArea {
  readonly offset: number;
  readonly size: number;
}

/** A write that a client may turn into an eventfd (ioeventfd): VFIO_USER_DEVICE_GET_REGION_IO_FDS. */
export interface IoEvent {
  readonly offset: number;
  /** Width of the access in bytes; 0 matches any. */
  readonly size: 0 | 1 | 2 | 4 | 8;
  /** The only value that triggers it; absent: any. */
  readonly dataMatch?: number;
}

/** VFIO_DEVICE_GET_REGION_INFO: one region. Sizes and offsets are in bytes. */
export interface RegionInfo {
  readonly index: number;
  readonly flags: number;
  /** Bytes; 0 where the device has no such region. */
  readonly size: number;
  /** Descriptor to map, where flags has MMAP. */
  readonly fd: number | undefined;
  /** Parts that may be mapped; empty with MMAP set: all of it. */
  readonly mmapAreas: readonly MmapArea[];
  readonly ioEvents: readonly IoEvent[];
}

/** VFIO_DEVICE_GET_IRQ_INFO: one kind of interrupt. */
export interface IrqInfo {
  readonly index: number;
  readonly flags: number;
  readonly count: number;
}
