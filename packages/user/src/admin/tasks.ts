import type { PciDevice } from "@vfiokit/core";
import type { HoldMode, Lock, Task } from "@vfiokit/lockdep";

/** A task, with the locks that it has and wants. */
export interface TaskReport {
  readonly id: number;
  readonly name: string;
  /** In the order of acquisition. */
  readonly holds: readonly LockReport[];
  readonly waits: readonly WaitReport[];
}

/** A lock that a task holds. */
export interface LockReport {
  /** Its class: "memoryLock". */
  readonly lock: string;
  /** Whose lock it is, where it is one device's. */
  readonly device?: string;
  readonly mode: HoldMode;
}

/** A lock that a task waits for. */
export interface WaitReport extends LockReport {
  /** So far. */
  readonly milliseconds: number;
  /** Ids of the tasks that hold the lock. */
  readonly heldBy: readonly number[];
}

/**
 * The tasks at work on a device: `known` ones, and whoever holds one of its locks or waits for one. From there on, from
 * task to lock and from lock to task, whoever has to do with those: a wait can be found whole.
 */
export function listTasks(device: PciDevice, known: Iterable<Task>): TaskReport[] {
  const tasks = new Set(known);
  const locks = new Set(locksOf(device));
  const waits = new Map<Task, WaitReport[]>();
  const owners = ownersOf(device);
  const report = (lock: Lock, mode: HoldMode): LockReport => {
    const owner = owners.get(lock);
    return { lock: lock.className, ...(owner !== undefined && { device: owner }), mode };
  };

  // A Set that grows while it is gone through is gone through to its new end.
  for (const task of tasks) for (const { lock } of task.holds) locks.add(lock);
  for (const lock of locks) {
    const holders = lock.holders();
    const waiters = lock.waiters();
    for (const { task, mode, since } of waiters) {
      const wait: WaitReport = {
        ...report(lock, mode),
        milliseconds: Math.round(performance.now() - since),
        heldBy: [...new Set(holders)].map(({ id }) => id),
      };
      waits.set(task, [...(waits.get(task) ?? []), wait]);
    }
    for (const task of [...holders, ...waiters.map((waiter) => waiter.task)]) {
      tasks.add(task);
      for (const hold of task.holds) locks.add(hold.lock);
    }
  }
  return [...tasks]
    .sort((a, b) => a.id - b.id)
    .map((task) => ({
      id: task.id,
      name: task.name,
      holds: task.holds.map(({ lock, mode }) => report(lock, mode)),
      waits: waits.get(task) ?? [],
    }));
}

/** Linux's names: docs/architecture.md, "Tasks and locks". A session's lock is found by those who hold it. */
function locksOf({ set, deviceLock, memoryLock, dma, irqs, migration }: PciDevice): Lock[] {
  const locks: Lock[] = [set.lock, dma.mmapLock, memoryLock, deviceLock, irqs.igate];
  return migration ? [...locks, migration.stateMutex] : locks;
}

/** Whose lock it is: tasks of a device can hold locks of others of its set. */
function ownersOf(device: PciDevice): Map<Lock, string> {
  const owners = new Map<Lock, string>();
  for (const { name, deviceLock, memoryLock, migration } of device.set.devices) {
    owners.set(deviceLock, name).set(memoryLock, name);
    if (migration) owners.set(migration.stateMutex, name);
  }
  return owners.set(device.dma.mmapLock, device.name).set(device.irqs.igate, device.name);
}
