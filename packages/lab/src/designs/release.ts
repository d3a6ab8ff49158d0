import { kernelDesign, lockAndResetMigration } from "./kernel.js";

/**
 * The review's proposal: `vfio_pci_up_write_memory_lock_from_reset()` releases memory_lock and calls the op, so that no
 * path that takes the lock for a reset can forget it. It asks for the ops, and the op is enforced last. Read to the
 * letter it knows neither whether the device was reset nor whose memory_lock the caller still holds, and a path that
 * takes no memory_lock does not come by.
 */
export const release = kernelDesign({
  name: "release",
  title: "the review's: an op with the release of memory_lock",
  registration: (step) => step,
  strategy: {
    async memoryLockReleased({ migration }, task) {
      if (migration) await lockAndResetMigration(migration, task);
    },
  },
});
