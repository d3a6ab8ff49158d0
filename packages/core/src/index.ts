export { Errno, VfioError, errnoName, errnoOf, type ErrnoName } from "./errno.js";
export { heapMemory, type ClientMemory, type DmaBacking, type MemoryProvider, type SharedMemory } from "./memory.js";
export type { IrqTrigger } from "./irq/trigger.js";
export { DeviceFlags, IrqFlags, IrqIndex, NUM_IRQS, NUM_REGIONS, RegionFlags, RegionIndex } from "./device/info.js";
export type { DeviceInfo, IoEvent, IrqInfo, MmapArea, RegionInfo } from "./device/info.js";
