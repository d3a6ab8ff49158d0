export {
  MigrationFlags,
  MigrationState,
  hasSession,
  migrationStateName,
  nextState,
  type MigrationStateName,
} from "./fsm.js";
export { checkHandOverId, handOverIdRule, isFrom, isHandOverId, newHandOverId } from "./hand-over-id.js";
export { HandOver, type HandOverOutcome, type HandOverPhase, type HandOverStatus } from "./hand-over.js";
export { Migration } from "./machine.js";
export {
  checkMigrationOps,
  type MigrationOps,
  type ResetStateRequirement,
  type StreamLayout,
} from "./ops.js";
export type { PrecopyInfo } from "./precopy-writer.js";
export type { SessionData } from "./session.js";
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
  type DeclaredSection,
  type Field,
  type FieldOptions,
  type MigratedMemory,
  type SavedSection,
  type Section,
  type SectionOptions,
  type StateSections,
} from "./sections.js";
export {
  describeIdentity,
  describeStream,
  StreamError,
  StreamInspector,
  StreamReader,
  type DeviceIdentity,
  type SectionProgress,
  type StreamBegin,
  type StreamDescription,
  type StreamProblem,
  type StreamReaderOptions,
  type StreamRule,
} from "./stream.js";
export { TrackedMemory } from "./tracked-memory.js";
