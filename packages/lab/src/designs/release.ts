import type { ResetStrategy } from "@vfiokit/core/lab";
import type { Design } from "../design.js";
import { getStateLocked, kernelStrategy, lockAndResetMigration } from "./kernel.js";

/**
 * The review's proposal: `vfio_pci_up_write_memory_lock_from_reset()` releases memory_lock and calls the op, so that no
 * path that takes the lock for a reset can forget it. It asks for the ops, and the op is enforced last. Read to the
 * letter it knows neither whether the device was reset nor whose memory_lock the caller still holds, and a path that
 * takes no memory_lock does not come by.
 */
const strategy: ResetStrategy = {
  ...kernelStrategy,
  name: "release",
  async memoryLockReleased({ migration }, task) {
    if (migration) await lockAndResetMigration(migration, task);
  },
};

export const release: Design = {
  name: "release",
  title: "the review's: an op with the release of memory_lock",
  strategy,
  getState: (migration, task) => getStateLocked(strategy, migration, task),
  registration: (step) => step,
};
