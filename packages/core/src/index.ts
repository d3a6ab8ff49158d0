export { Errno, VfioError, errnoName, errnoOf, type ErrnoName } from "./errno.js";
export { heapMemory, type ClientMemory, type DmaBacking, type MemoryProvider, type SharedMemory } from "./memory.js";

export { definePciDevice, type PciDeviceDefinition } from "./device/define.js";
export { PciDevice, type PciDeviceOptions } from "./device/pci-device.js";
export type { FunctionHost, InterruptLine, InterruptMessages, PciFunction } from "./device/function.js";
export * from "./device/info.js";

export * from "./pci/index.js";
export * from "./irq/index.js";
export * from "./dma/index.js";
export * from "./migration/index.js";
export { initiators, type ResetInitiator } from "./reset/initiator.js";
