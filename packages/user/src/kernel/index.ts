/** Devices of the kernel's VFIO (/dev/vfio): opened, looked at, given to vfio-pci and taken back. */

export { isKernelAddress, parseKernelAddress, parsePciAddress, type KernelAddress } from "./address.js";
export { bindFunction, unbindFunction, type BindOptions, type BindResult } from "./bind.js";
export { KernelDevice } from "./device.js";
export type { AffectedDevice } from "./hot-reset.js";
export type { Iommu, KernelDmaMap } from "./iommu.js";
export { openKernelDevice, type KernelPaths } from "./open.js";
export { isBridge, Sysfs, type MdevState, type PciFunctionState } from "./sysfs.js";
