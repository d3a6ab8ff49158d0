export {
  Errno,
  VfioError,
  errnoName,
  errnoOf,
  invalid,
  type ErrnoName,
  type VfioErrorData,
} from "./errno.js";
export {
  heapMemory,
  type ClientMemory,
  type DmaBacking,
  type MemoryProvider,
  type SharedMemory,
} from "./memory.js";

export { definePciDevice, type PciDeviceDefinition } from "./device/define.js";
export { PciDevice, type PciDeviceOptions } from "./device/pci-device.js";
export type { StopReason } from "./device/function-runner.js";
export type { FunctionHost, InterruptLine, InterruptMessages, PciFunction } from "./device/function.js";
export * from "./device/info.js";

export * from "./pci/index.js";
export * from "./irq/index.js";
export * from "./dma/index.js";
export * from "./migration/index.js";
export { DeviceSet, type HotResetInfo } from "./reset/device-set.js";
export { initiators, type InitiatorRules, type ResetInitiator } from "./reset/initiator.js";
export {
  generationStrategy,
  type ResetDevice,
  type ResetOutcome,
  type ResetStrategy,
} from "./reset/strategy.js";
export type { BarMapping } from "./device/bar-mapping.js";
export { injectableErrors, type InjectableError } from "./device/faults.js";
export type { IdlePower, RuntimePm } from "./device/runtime-pm.js";
