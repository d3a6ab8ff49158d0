/** For transports: what passes between a device and the clients that it is served to. */
export * from "../uapi.js";
export type { ClientMemory, DmaBacking, SharedMemory } from "../memory.js";
export type { FaultOptions, FaultReport } from "../device/faults.js";
export type { StopReason } from "../device/function-runner.js";
export { injectableErrors, type InjectableError } from "../device/inject.js";
export {
  DirtyLog,
  dirtyBitmapSize,
  type DirtyRange,
  type DmaLimits,
  type DmaMapRequest,
} from "../dma/index.js";
export * from "../irq/index.js";
export type { HotResetInfo } from "../reset/device-set.js";
