import type { MigrationState } from "./fsm.js";
import type { DataSession } from "./session.js";

/**
 * How a driver migrates its device (Linux: struct vfio_migration_ops). Devices that declare `state` sections get
 * these from the core (section-ops.ts).
 *
 * All of them run under the device's `stateMutex`, so they never overlap.
 */
export interface MigrationOps {
  /** MigrationFlags: STOP_COPY is mandatory. */
  readonly flags: number;

  /**
   * Performs one arc and returns the data session that it opens, if it opens one.
   *
   * A `VfioError` refuses the arc and leaves the device in `from`; anything else thrown puts it into ERROR.
   * `signal` aborts when a reset overtakes the arc: whatever is done after that must not touch the device.
   */
  migrationSetState(
    from: MigrationState,
    to: MigrationState,
    signal: AbortSignal,
  ): DataSession | undefined | Promise<DataSession | undefined>;

  /** Estimated bytes of a STOP_COPY image (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE). */
  migrationGetDataSize(): number;

  /** Cleans up what the driver itself keeps about a migration that a reset ended. Never under a memoryLock. */
  migrationResetState?(): void | Promise<void>;
}
