import { Mutex, Shared, type Task } from "@vfiokit/lockdep";
import type { Migration } from "@vfiokit/core/lab";
import { kernelDesign, lock, preempt, resetMigration } from "./kernel.js";

/** What such a driver keeps beside its migration. */
interface Deferred {
  /** Linux: reset_lock, a spinlock. */
  readonly resetLock: Mutex;
  /** Linux: deferred_reset. */
  readonly wanted: Shared<boolean>;
}

const deferredOf = new WeakMap<Migration, Deferred>();

function deferred(migration: Migration): Deferred {
  let known = deferredOf.get(migration);
  if (!known) {
    known = { resetLock: new Mutex("resetLock"), wanted: new Shared("deferredReset", false) };
    deferredOf.set(migration, known);
  }
  return known;
}

/** Linux: mlx5vf_state_mutex_unlock. A reset that came meanwhile is made up for before anybody else gets in. */
async function stateMutexUnlock(migration: Migration, task: Task): Promise<void> {
  const { resetLock, wanted } = deferred(migration);
  for (;;) {
    await lock(resetLock, task);
    await preempt(task);
    if (!wanted.value) break;
    await preempt(task);
    wanted.value = false;
    resetLock.unlock(task);
    await resetMigration(migration, task);
  }
  await preempt(task);
  migration.stateMutex.unlock(task);
  resetLock.unlock(task);
}

/**
 * `.reset_done` never waits: it leaves a note, and whoever lets go of `state_mutex` reads it. If nobody holds it, that
 * is `.reset_done` itself, by a trylock.
 *
 * Linux 7.3: mlx5, virtio, xe and the mtty sample. It is called as in `locked`.
 */
export const deferredReset = kernelDesign({
  name: "deferred",
  title: "reset_done leaves a note (mlx5, virtio, xe, mtty)",
  registration: () => "off", // there is no op
  strategy: {
    async resetDone({ migration }, task) {
      if (!migration) return;
      const { resetLock, wanted } = deferred(migration);
      await lock(resetLock, task);
      await preempt(task);
      wanted.value = true;
      await preempt(task);
      const entered = migration.stateMutex.tryLock(task);
      resetLock.unlock(task);
      if (entered) await stateMutexUnlock(migration, task);
    },
    unlock: stateMutexUnlock,
  },
});
