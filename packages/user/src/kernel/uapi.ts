/**
 * What the kernel's VFIO has and vfio-user has not: the ioctls' numbers, and the structs of containers, groups, hot
 * resets and IOMMUs. The others are those of vfio-user (wire/structs.ts, wire/features.ts).
 *
 * Linux: include/uapi/linux/vfio.h, include/uapi/linux/iommufd.h
 */

import { arrayOf } from "../layout/tail.js";
import { bytes, flags, s32, u16, u32, u64, u8 } from "../layout/field.js";
import { struct, type StructValue } from "../layout/struct.js";

/** _IO(';', 100 + n): an ioctl of VFIO's carries neither direction nor size. */
const vfio = (n: number): number => (0x3b << 8) | (100 + n);
/** _IO(';', 128 + n) */
const iommufd = (n: number): number => (0x3b << 8) | (0x80 + n);

/** The ioctls that are used here, by the names of Linux. */
export const Ioctl = {
  VFIO_GET_API_VERSION: vfio(0),
  VFIO_CHECK_EXTENSION: vfio(1),
  VFIO_SET_IOMMU: vfio(2),
  VFIO_GROUP_GET_STATUS: vfio(3),
  VFIO_GROUP_SET_CONTAINER: vfio(4),
  VFIO_GROUP_GET_DEVICE_FD: vfio(6),
  VFIO_DEVICE_GET_INFO: vfio(7),
  VFIO_DEVICE_GET_REGION_INFO: vfio(8),
  VFIO_DEVICE_GET_IRQ_INFO: vfio(9),
  VFIO_DEVICE_SET_IRQS: vfio(10),
  VFIO_DEVICE_RESET: vfio(11),
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: vfio(12),
  VFIO_DEVICE_PCI_HOT_RESET: vfio(13),
  VFIO_IOMMU_MAP_DMA: vfio(13),
  VFIO_IOMMU_UNMAP_DMA: vfio(14),
  VFIO_DEVICE_FEATURE: vfio(17),
  VFIO_DEVICE_BIND_IOMMUFD: vfio(18),
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: vfio(19),
  VFIO_MIG_GET_PRECOPY_INFO: vfio(21),
  IOMMU_IOAS_ALLOC: iommufd(1),
  IOMMU_IOAS_MAP: iommufd(5),
  IOMMU_IOAS_UNMAP: iommufd(6),
} as const;
export type IoctlName = keyof typeof Ioctl;

/** VFIO_API_VERSION */
export const API_VERSION = 0;
/** VFIO_TYPE1v2_IOMMU */
export const TYPE1V2_IOMMU = 3;

/** VFIO_GROUP_FLAGS_* */
export const GroupFlags = { VIABLE: 1 << 0, CONTAINER_SET: 1 << 1 } as const;
export const GroupStatus = struct("vfio_group_status", { argsz: u32, flags: flags(u32, GroupFlags) });

/** VFIO_PCI_HOT_RESET_FLAG_* */
export const HotResetFlags = { DEV_ID: 1 << 0, DEV_ID_OWNED: 1 << 1 } as const;
export const DependentDevice = struct("vfio_pci_dependent_device", {
  /** The group's number; with DEV_ID an iommufd's id of the device. */
  group_id: u32,
  segment: u16,
  bus: u8,
  devfn: u8,
});
const hotResetInfo = { argsz: u32, flags: flags(u32, HotResetFlags), count: u32 };
export const HotResetInfoRequest = struct("vfio_pci_hot_reset_info", hotResetInfo);
export const HotResetInfo = struct("vfio_pci_hot_reset_info", {
  ...hotResetInfo,
  devices: arrayOf(DependentDevice, "count"),
});
const GroupFd = struct("group_fd", { fd: s32 });
export const HotReset = struct("vfio_pci_hot_reset", {
  argsz: u32,
  flags: u32,
  count: u32,
  groups: arrayOf(GroupFd, "count"),
});

/** VFIO_DMA_MAP_FLAG_* */
export const DmaMapFlags = { READ: 1 << 0, WRITE: 1 << 1 } as const;
export const Type1DmaMap = struct("vfio_iommu_type1_dma_map", {
  argsz: u32,
  flags: flags(u32, DmaMapFlags),
  /** Where it is in this process. */
  vaddr: u64,
  /** Where devices see it. */
  iova: u64,
  size: u64,
});
export const Type1DmaUnmap = struct("vfio_iommu_type1_dma_unmap", {
  argsz: u32,
  flags: u32,
  iova: u64,
  size: u64,
});

export const BindIommufd = struct("vfio_device_bind_iommufd", {
  argsz: u32,
  flags: u32,
  iommufd: s32,
  out_devid: u32,
  /** Newer kernels take it, with FLAG_TOKEN. */
  token_uuid_ptr: u64,
});
export const AttachIommufdPt = struct("vfio_device_attach_iommufd_pt", {
  argsz: u32,
  flags: u32,
  /** In: of an address space. Out: of what the device is attached to. */
  pt_id: u32,
  pasid: u32,
});
export const IoasAlloc = struct("iommu_ioas_alloc", { size: u32, flags: u32, out_ioas_id: u32 });
/** IOMMU_IOAS_MAP_* */
export const IoasMapFlags = { FIXED_IOVA: 1 << 0, WRITEABLE: 1 << 1, READABLE: 1 << 2 } as const;
export const IoasMap = struct("iommu_ioas_map", {
  size: u32,
  flags: flags(u32, IoasMapFlags),
  ioas_id: u32,
  __reserved: bytes(4),
  user_va: u64,
  length: u64,
  iova: u64,
});
export const IoasUnmap = struct("iommu_ioas_unmap", { size: u32, ioas_id: u32, iova: u64, length: u64 });

export type DependentDevice = StructValue<typeof DependentDevice>;
