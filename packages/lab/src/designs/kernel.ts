import type { MigrationState } from "@vfiokit/core/migration";
import type { Migration, ResetStrategy } from "@vfiokit/core/lab";
import type { Mutex, Task } from "@vfiokit/lockdep";
import type { Design } from "../design.js";

// What the kernel's designs share. The kernel is preemptive: another task can run before each access to what tasks
// share, so each is marked. test/preemption.test.ts sees to it that no mark is missing.

/** Another task could run here. Nothing at all outside of an exploration. */
export async function preempt(task: Task): Promise<void> {
  const preempted = task.preempt();
  if (preempted) await preempted;
}

export async function lock(mutex: Mutex, task: Task): Promise<void> {
  const wait = mutex.lock(task); // a scheduling point by itself
  if (wait) await wait;
}

/** A driver's reset of its migration, under state_mutex: the data files are disabled, the state is RUNNING. */
export async function resetMigration(migration: Migration, task: Task): Promise<void> {
  await preempt(task);
  await migration.endSession(task); // Linux: migf->lock
  await preempt(task);
  await migration.resetRecord(task);
}

/** The same for a driver that takes state_mutex for it. */
export async function lockAndResetMigration(migration: Migration, task: Task): Promise<void> {
  await lock(migration.stateMutex, task);
  try {
    await resetMigration(migration, task);
  } finally {
    migration.stateMutex.unlock(task);
  }
}

/** Linux: migration_get_state, which all drivers do under state_mutex. */
async function getStateLocked(
  strategy: ResetStrategy,
  migration: Migration,
  task: Task,
): Promise<MigrationState> {
  await lock(migration.stateMutex, task);
  try {
    await preempt(task);
    return migration.state;
  } finally {
    await strategy.unlock(migration, task);
  }
}

/** A design of the kernel's: nothing of a reset matters to its migration but what its strategy writes out. */
export function kernelDesign({
  strategy,
  ...design
}: Omit<Design, "strategy" | "getState"> & { readonly strategy: Partial<ResetStrategy> }): Design {
  const whole: ResetStrategy = {
    name: design.name,
    isOutdated: () => false,
    happened: () => undefined,
    resetDone: () => undefined,
    memoryLockReleased: () => undefined,
    pathDone: () => undefined,
    entered: () => undefined,
    unlock: (migration, task) => migration.stateMutex.unlock(task),
    ...strategy,
  };
  return {
    ...design,
    strategy: whole,
    getState: (migration, task) => getStateLocked(whole, migration, task),
  };
}
