/** Live migration between vfio-user servers: docs/migration.md. */
export { decideRecovery, type RecoveryAction, type RecoveryStep, type SideState } from "./decide-recovery.js";
export { localSide, recover, type RecoverySide } from "./recover.js";
export type { EndpointDescription, MigrationSource, MigrationTarget, PrecopyProgress } from "./endpoint.js";
export { EndpointGoneError, MigrateError } from "./errors.js";
export { checkImage } from "./check-stream.js";
export { restoreImage, saveImage, type SavedImage } from "./image.js";
export type { LocalEndOptions } from "./local-end.js";
export { LocalSource } from "./local-source.js";
export { LocalTarget, type LocalTargetOptions } from "./local-target.js";
export { migrate } from "./migrate.js";
export {
  migratePhases,
  type MigrateClock,
  type MigrateEvent,
  type MigrateHooks,
  type MigrateOptions,
  type MigratePhase,
  type MigrateProgress,
  type MigrateResult,
  type PrecopyEnd,
} from "./options.js";
