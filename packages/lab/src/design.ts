import type { MigrationState, ResetStateRequirement } from "@vfiokit/core/migration";
import type { Migration, ResetStrategy } from "@vfiokit/core/lab";
import type { Task } from "@vfiokit/lockdep";

/** One answer to the question what a reset does to a migration. */
export interface Design {
  readonly name: string;
  /** In a few words, for tables. */
  readonly title: string;
  readonly strategy: ResetStrategy;

  /** VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE with GET: the state as a client is told it. */
  getState(migration: Migration, task: Task): MigrationState | Promise<MigrationState>;

  /**
   * What registration demands of `migrationResetState` when the series of patches that brings the design has come as
   * far as `step`.
   */
  registration(step: ResetStateRequirement): ResetStateRequirement;
}
