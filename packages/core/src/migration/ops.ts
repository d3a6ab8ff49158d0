import { VfioError } from "../errno.js";
import { MigrationFlags, type MigrationState } from "./fsm.js";
import type { PrecopyInfo } from "./precopy-writer.js";
import type { DeclaredSection } from "./sections.js";
import type { SessionData } from "./session.js";

/** What a device's migration stream is made of, whatever the values in it. */
export interface StreamLayout {
  /** The newest format that it writes and reads. */
  readonly format: number;
  readonly sections: readonly DeclaredSection[];
}

/**
 * How a driver migrates its device (Linux: struct vfio_migration_ops). Devices that declare `state` sections get
 * these from the core (section-migration.ts).
 *
 * All but the three that tell of the image (`migrationGetDataSize` and the two after it) run under the device's `stateMutex`, so they never overlap. Where one throws, the
 * client gets a `VfioError`'s errno, and EIO for anything else.
 */
export interface MigrationOps {
  /** MigrationFlags: STOP_COPY is mandatory. */
  readonly flags: number;

  /**
   * Performs one arc and returns the data of the session that it opens, if it opens one. When it throws,
   * `migrationGetState` says where the device is. `signal` aborts when a reset overtakes the arc, its client goes
   * away or its task is cancelled: nothing done after that may touch the device.
   */
  migrationSetState(
    from: MigrationState,
    to: MigrationState,
    signal: AbortSignal,
  ): SessionData | undefined | Promise<SessionData | undefined>;

  /**
   * Where the device is after a failed arc: the arc's `from`, or ERROR. Asked only then. A driver that cannot tell
   * (it throws, or names a state that the device does not have) has a device in ERROR.
   */
  migrationGetState(): MigrationState;

  /**
   * Estimated bytes of a STOP_COPY image (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE); while one is being read, of what is
   * left of it.
   */
  migrationGetDataSize(): number;

  /** In PRE_COPY and PRE_COPY_P2P: what there is to be sent (VFIO_MIG_GET_PRECOPY_INFO). */
  migrationGetPrecopyInfo?(): PrecopyInfo;

  /**
   * In RESUMING: a part of the image is in the device, which therefore cannot run any more. A client that goes away
   * leaves such a device in ERROR.
   */
  migrationImageStarted?(): boolean;

  /** What the device's stream is made of. Absent: nobody but the device can tell whether another one takes it. */
  migrationGetLayout?(): StreamLayout;

  /**
   * Cleans up what the driver itself keeps about a migration that a reset, or its client's end, has ended. Never
   * under a memoryLock. Resets in a row may share one call. `signal` aborts when the caller's task is cancelled.
   */
  migrationResetState?(signal: AbortSignal | undefined): void | Promise<void>;
}

/**
 * What registration demands of `migrationResetState`: nothing, a warning, or its presence. A new mandatory op is
 * enforced last, when all drivers have it: until then each step of converting them has to work.
 */
export type ResetStateRequirement = "off" | "warn" | "enforce";

const mandatoryOps = ["migrationSetState", "migrationGetState", "migrationGetDataSize"] as const;

/**
 * Checks a driver's ops at registration (Linux: vfio_pci_core_register_device).
 * @throws VfioError EINVAL naming the missing op or flag
 */
export function checkMigrationOps(
  device: string,
  ops: MigrationOps,
  requirement: ResetStateRequirement,
  warn: (message: string) => void,
): void {
  for (const op of mandatoryOps) {
    // Drivers are not always written in TypeScript.
    if (typeof ops[op] !== "function")
      throw new VfioError("EINVAL", `${device}: migration op ${op} is missing`);
  }
  if (!(ops.flags & MigrationFlags.STOP_COPY)) {
    throw new VfioError("EINVAL", `${device}: migration flags 0x${ops.flags.toString(16)} lack STOP_COPY`);
  }
  if (ops.migrationResetState || requirement === "off") return;
  const message = `${device}: migration op migrationResetState is missing`;
  if (requirement === "enforce") throw new VfioError("EINVAL", message);
  warn(`${message}; it will become mandatory`);
}
