export { Errno, VfioError, errnoName, errnoOf, type ErrnoName } from "./errno.js";
export { heapMemory, type ClientMemory, type DmaBacking, type MemoryProvider, type SharedMemory } from "./memory.js";
export type { IrqTrigger } from "./irq/trigger.js";
