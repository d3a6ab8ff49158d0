/** For device authors. Other subpaths: ./pci, ./migration, ./host (transports), ./lab (designs of a reset). */
export {
  Errno,
  VfioError,
  errnoName,
  errnoOf,
  invalid,
  type ErrnoName,
  type VfioErrorData,
} from "./errno.js";
export { heapMemory, type MemoryProvider, type ReadonlyBytes } from "./memory.js";

export { definePciDevice, type PciDeviceDefinition } from "./device/define.js";
export { PciDevice } from "./device/pci-device.js";
export type { PciDeviceOptions } from "./device/options.js";
export type { OpenOptions } from "./device/open-count.js";
export type { IdlePower } from "./device/runtime-pm.js";
export type { FunctionHost, InterruptLine, InterruptMessages, PciFunction } from "./device/function.js";
export { IrqIndex, RegionIndex } from "./uapi.js";
export { DeviceSet } from "./reset/device-set.js";

export {
  aer,
  af,
  dsn,
  express,
  io,
  memory,
  mmio,
  msi,
  msix,
  msixTable,
  pm,
  vendorSpecific,
  type BarDeclaration,
  type CapabilityDeclaration,
  type ConfigDefinition,
} from "./pci/index.js";
export { DmaAddressSpace, type DmaAddress } from "./dma/index.js";

export {
  array,
  bool,
  bytes,
  section,
  sections,
  trackedMemory,
  u16,
  u32,
  u64,
  u8,
  type Field,
  type FieldOptions,
  type Section,
  type SectionOptions,
  type StateSections,
} from "./migration/sections.js";
export { TrackedMemory } from "./migration/tracked-memory.js";
export * from "./registers/index.js";
