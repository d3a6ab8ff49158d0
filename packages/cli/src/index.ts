/** The command as a library: what `vfiokit` does, for other programs. */
export { run } from "./program.js";
export { inspect } from "./info/inspect.js";
export type {
  DeviceReport,
  FeatureReport,
  IrqReport,
  Limits,
  MigrationReport,
  RegionReport,
} from "./info/report.js";
