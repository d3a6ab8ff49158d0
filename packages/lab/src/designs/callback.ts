import type { Task } from "@vfiokit/lockdep";
import type { Migration, ResetDevice, ResetInitiator } from "@vfiokit/core/lab";
import { kernelDesign, lockAndResetMigration } from "./kernel.js";

/** The paths that the patch calls it on once the device's own memory_lock is released. */
const afterRelease: readonly ResetInitiator[] = ["ioctl", "hot-reset"];
/** And those on which no memory_lock was taken. */
const atEnd: readonly ResetInitiator[] = ["disable", "last-close"];

/** The patch's helper: it takes for granted that there are migration ops. */
function migrationResetState(device: ResetDevice, task: Task): Promise<void> {
  const migration = device.migration as Migration;
  return lockAndResetMigration(migration, task);
}

/**
 * The patch "vfio: Introduce .migration_reset_state() callback" as posted on 20 November 2025, with what its review
 * found: no check for missing `mig_ops`, the paths written out by hand and some of them missing, the op mandatory from
 * its first patch on; and with what the review did not say: in a hot reset the op of one device is called while other
 * devices' memory_locks are held, and it is called when the reset failed, too.
 */
export const callback = kernelDesign({
  name: "callback",
  title: "the patch as posted: an op after memory_lock",
  registration: () => "enforce",
  strategy: {
    memoryLockReleased(device, task, { initiator }) {
      return afterRelease.includes(initiator) ? migrationResetState(device, task) : undefined;
    },
    pathDone(device, task, { initiator }) {
      return atEnd.includes(initiator) ? migrationResetState(device, task) : undefined;
    },
  },
});
