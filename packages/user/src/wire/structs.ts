/** The payloads of vfio-user, in the order of the specification. Names of structs are libvfio-user's. */

import { DeviceFlags, IrqFlags, RegionFlags } from "@vfiokit/core/host";
import { versionData } from "./capabilities.js";
import { bytes, flags, u16, u32, u64 } from "../layout/field.js";
import { regionCapabilities } from "./region-caps.js";
import { struct, type StructValue, type Tail } from "../layout/struct.js";
import { subRegions } from "./io-fds.js";
import { arrayOf, dataOf, paddedDataOf, rest } from "../layout/tail.js";

export const Empty = struct("(no payload)", {});

/** VERSION, request and reply; its data is JSON. */
export const Version = struct("vfio_user_version", { major: u16, minor: u16, data: versionData });
export type Version = StructValue<typeof Version>;

/** MMAP and FILE_IO say how to reach the descriptor's memory; libvfio-user has them, absent means MMAP. */
export const DmaMapFlags = { READ: 1 << 0, WRITE: 1 << 1, MMAP: 1 << 2, FILE_IO: 1 << 3 } as const;

/** DMA_MAP. */
export const DmaMap = struct("vfio_user_dma_map", {
  argsz: u32,
  flags: flags(u32, DmaMapFlags),
  /** Into the descriptor; zero without one. */
  offset: u64,
  address: u64,
  size: u64,
});
export type DmaMap = StructValue<typeof DmaMap>;

/** VFIO uAPI: VFIO_DMA_UNMAP_FLAG_*. GET_DIRTY_BITMAP left the protocol: DMA logging replaced it. */
export const DmaUnmapFlags = { GET_DIRTY_BITMAP: 1 << 0, ALL: 1 << 1 } as const;

/** DMA_UNMAP, request and reply. */
export const DmaUnmap = struct("vfio_user_dma_unmap", {
  argsz: u32,
  flags: flags(u32, DmaUnmapFlags),
  address: u64,
  size: u64,
});
export type DmaUnmap = StructValue<typeof DmaUnmap>;

/** DEVICE_GET_INFO, request and reply. */
export const DeviceInfo = struct("vfio_user_device_info", {
  argsz: u32,
  flags: flags(u32, DeviceFlags),
  num_regions: u32,
  num_irqs: u32,
});
export type DeviceInfo = StructValue<typeof DeviceInfo>;

const regionInfo = {
  argsz: u32,
  flags: flags(u32, RegionFlags),
  index: u32,
  /** Of the first capability, from the start of this struct; 0: none. */
  cap_offset: u32,
  size: u64,
  /** To pass to mmap, with REGION_INFO_FLAG_MMAP. */
  offset: u64,
};
/** The request of DEVICE_GET_REGION_INFO. */
export const RegionInfoRequest = struct("vfio_region_info", regionInfo);
/** The reply of DEVICE_GET_REGION_INFO. */
export const RegionInfo = struct("vfio_region_info", { ...regionInfo, capabilities: regionCapabilities });
export type RegionInfo = StructValue<typeof RegionInfo>;

const regionIoFds = { argsz: u32, flags: u32, index: u32, count: u32 };
/** The request of DEVICE_GET_REGION_IO_FDS. */
export const RegionIoFdsRequest = struct("vfio_user_region_io_fds_request", regionIoFds);
/** The reply of DEVICE_GET_REGION_IO_FDS. */
export const RegionIoFds = struct("vfio_user_region_io_fds_reply", {
  ...regionIoFds,
  sub_regions: subRegions,
});
export type RegionIoFds = StructValue<typeof RegionIoFds>;

/** DEVICE_GET_IRQ_INFO, request and reply. */
export const IrqInfo = struct("vfio_irq_info", {
  argsz: u32,
  flags: flags(u32, IrqFlags),
  index: u32,
  count: u32,
});
export type IrqInfo = StructValue<typeof IrqInfo>;

/** VFIO uAPI: exactly one DATA and one ACTION flag. */
export const IrqSetFlags = {
  DATA_NONE: 1 << 0,
  DATA_BOOL: 1 << 1,
  DATA_EVENTFD: 1 << 2,
  ACTION_MASK: 1 << 3,
  ACTION_UNMASK: 1 << 4,
  ACTION_TRIGGER: 1 << 5,
} as const;
/** VFIO_IRQ_SET_DATA_TYPE_MASK. */
export const IRQ_SET_DATA_MASK = IrqSetFlags.DATA_NONE | IrqSetFlags.DATA_BOOL | IrqSetFlags.DATA_EVENTFD;
/** VFIO_IRQ_SET_ACTION_TYPE_MASK. */
export const IRQ_SET_ACTION_MASK =
  IrqSetFlags.ACTION_MASK | IrqSetFlags.ACTION_UNMASK | IrqSetFlags.ACTION_TRIGGER;

/** DEVICE_SET_IRQS. */
export const IrqSet = struct("vfio_irq_set", {
  argsz: u32,
  flags: flags(u32, IrqSetFlags),
  index: u32,
  start: u32,
  count: u32,
  /** DATA_BOOL: one byte an interrupt. The descriptors of DATA_EVENTFD come beside the message. */
  data: rest,
});
export type IrqSet = StructValue<typeof IrqSet>;

/** REGION_READ's request, REGION_WRITE's reply, and the start of the other two. */
const regionAccess = { offset: u64, region: u32, count: u32 };
/** The request of REGION_READ, and the head of what has data. */
export const RegionAccess = struct("vfio_user_region_access", regionAccess);
export type RegionAccess = StructValue<typeof RegionAccess>;
/** The reply of REGION_READ, and the request of REGION_WRITE. */
export const RegionData = struct("vfio_user_region_access", { ...regionAccess, data: dataOf("count") });
export type RegionData = StructValue<typeof RegionData>;

const dmaAccess = { address: u64, count: u64 };
/** The request of DMA_READ, and the head of what has data. */
export const DmaAccess = struct("vfio_user_dma_region_access", dmaAccess);
export type DmaAccess = StructValue<typeof DmaAccess>;
/** The reply of DMA_READ, and the request of DMA_WRITE. */
export const DmaData = struct("vfio_user_dma_region_access", { ...dmaAccess, data: dataOf("count") });
export type DmaData = StructValue<typeof DmaData>;

/**
 * What a client wrote. Three forms are in use: libvfio-user has the request's 16 bytes (written here), the
 * specification says that count has 4, QEMU sends the header alone (undefined).
 */
const written: Tail<DmaAccess | undefined> = {
  tail: true,
  length: (value) => (value === undefined ? 0 : DmaAccess.size),
  read(payload, at) {
    const data = payload.subarray(at);
    if (data.length === 0) return undefined;
    if (data.length !== 12) return DmaAccess.decode(data);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    return { address: u64.read(view, 0), count: BigInt(view.getUint32(8, true)) };
  },
  write(payload, at, value) {
    if (value !== undefined) DmaAccess.write(value, payload.subarray(at));
  },
  describe: (value) => (value === undefined ? [] : DmaAccess.describe(value)),
};
/** The reply of DMA_WRITE. */
export const DmaWritten = struct("vfio_user_dma_region_access", { written });

/** One of a REGION_WRITE_MULTI: up to 8 bytes, always in a field of 8. */
export const SingleWrite = struct("vfio_user_region_write_multi.wrs", {
  offset: u64,
  region: u32,
  count: u32,
  data: bytes(8),
});
/** REGION_WRITE_MULTI: several writes in one message. */
export const RegionWriteMulti = struct("vfio_user_region_write_multi", {
  wr_cnt: u64,
  wrs: arrayOf(SingleWrite, "wr_cnt"),
});
export type RegionWriteMulti = StructValue<typeof RegionWriteMulti>;
/** The reply of REGION_WRITE_MULTI: how many were done. */
export const RegionWriteMultiReply = struct("vfio_user_region_write_multi", { wr_cnt: u64 });

/** MIG_DATA_READ's request. */
const migrationData = { argsz: u32, size: u32 };
/** The request of MIG_DATA_READ. */
export const MigrationDataRequest = struct("vfio_user_mig_data", migrationData);
/** MIG_DATA_READ's reply. */
export const MigrationDataReply = struct("vfio_user_mig_data", {
  ...migrationData,
  data: paddedDataOf("size"),
});
/** MIG_DATA_WRITE's request. */
export const MigrationData = struct("vfio_user_mig_data", { ...migrationData, data: dataOf("size") });
export type MigrationData = StructValue<typeof MigrationData>;
