import { kernelDesign, lockAndResetMigration } from "./kernel.js";

/**
 * The driver's `.reset_done` takes `state_mutex`, under whatever the PCI core and VFIO hold for the reset.
 *
 * Linux 7.3: pds, hisi_acc and qat. The PCI core calls `.reset_done` whether the reset succeeded or not, and on some
 * paths not at all: `initiators` of the core has which.
 */
export const locked = kernelDesign({
  name: "locked",
  title: "reset_done takes state_mutex (pds, hisi_acc, qat)",
  registration: () => "off", // there is no op
  strategy: {
    async resetDone({ migration }, task) {
      if (migration) await lockAndResetMigration(migration, task);
    },
  },
});
