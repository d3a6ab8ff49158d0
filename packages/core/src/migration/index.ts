/** For whoever migrates a device or reads its stream, and for drivers with migration ops of their own. */
export { MigrationFlags, MigrationState, migrationStateName, type MigrationStateName } from "./fsm.js";
export type { DeviceMigration } from "./device-migration.js";
export { checkHandOverId, handOverIdRule, isFrom, isHandOverId, newHandOverId } from "./hand-over-id.js";
export type { HandOver, HandOverOutcome, HandOverPhase, HandOverStatus } from "./hand-over.js";
export type { MigrationOps, ResetStateRequirement, StreamLayout } from "./ops.js";
export type { PrecopyInfo } from "./precopy-writer.js";
export type { SessionData } from "./session.js";
export type { DeclaredSection } from "./sections.js";
export {
  describeIdentity,
  describeStream,
  StreamInspector,
  type DeviceIdentity,
  type SectionProgress,
  type StreamBegin,
  type StreamDescription,
  type StreamProblem,
  type StreamRule,
} from "./stream.js";
