export {
  io,
  memory,
  mmio,
  msixBarLayout,
  msixTable,
  type Bar,
  type BarDeclaration,
  type IoBar,
  type MemoryBar,
  type MmioBar,
  type Rom,
} from "./bars.js";
export {
  buildConfigSpace,
  type BuiltConfig,
  type Capabilities,
  type ConfigDefinition,
  type Placed,
} from "./build.js";
export * from "./capabilities/index.js";
export { ConfigEffect, ConfigSpace } from "./config-space.js";
export * from "./registers.js";
export * from "./describe.js";
