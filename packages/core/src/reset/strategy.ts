import type { Task } from "@vfiokit/lockdep";
import type { Migration } from "../migration/machine.js";
import type { ResetInitiator } from "./initiator.js";

/** How a path that meant to reset a device ended for that device. */
export interface ResetOutcome {
  /** The path. Where it powers the function on first, that is part of it. */
  readonly initiator: ResetInitiator;
  /** The function was really reset: set by the entry point, read by everybody else. */
  wasReset: boolean;
}

/** A device as a strategy sees it. */
export interface ResetDevice {
  readonly name: string;
  /** Undefined for the many devices without migration ops. */
  readonly migration: Migration | undefined;
}

/**
 * What a reset does to a migration, on every path. The core calls these hooks at the places where Linux has code or
 * could have some; each known design is a set of answers. `generation` is the default; the others exist to be
 * compared with it (packages/lab).
 *
 * In the order of a reset's life: happened, resetDone, memoryLockReleased, pathDone.
 */
export interface ResetStrategy {
  readonly name: string;

  /** Whether the migration's record is older than its device, and so counts as RUNNING with dead sessions. */
  isOutdated(migration: Migration): boolean;

  /** The function was reset; the generation is new. Synchronous, under every lock that the initiator holds. */
  happened(device: ResetDevice): void;

  /**
   * The PCI core's call to the driver (pci_error_handlers.reset_done), under the initiator's locks. Linux makes it
   * whether the reset succeeded or not (pci_dev_restore), and not on every path: see `initiators`.
   */
  resetDone(device: ResetDevice, task: Task, outcome: Readonly<ResetOutcome>): void | Promise<void>;

  /** This device's memoryLock was just released; in a hot reset, others of the set may still be held. */
  memoryLockReleased(device: ResetDevice, task: Task, outcome: Readonly<ResetOutcome>): void | Promise<void>;

  /** The path is over for this device: no memoryLock of its set is held any more. */
  pathDone(device: ResetDevice, task: Task, outcome: Readonly<ResetOutcome>): void | Promise<void>;

  /** The task has just taken stateMutex. */
  entered(migration: Migration, task: Task): void | Promise<void>;

  /** Releases stateMutex. */
  unlock(migration: Migration, task: Task): void | Promise<void>;
}

/**
 * The default design. A reset only increments the device's generation, under whatever locks it holds and without
 * any lock of the migration's. A record that is older than its device is dead from that moment on, for any observer;
 * the arc under way is aborted. The record itself is brought up to date by whoever holds stateMutex: on entry, and
 * before letting go. So a reset never waits for a migration lock, a reset that did not happen changes nothing, every
 * path is covered, and the lock order has no cycle.
 */
export const generationStrategy: ResetStrategy = {
  name: "generation",

  isOutdated: (migration) => migration.generation !== migration.device.generation,

  happened(device) {
    device.migration?.abortArc();
  },

  resetDone: () => undefined,
  memoryLockReleased: () => undefined,

  pathDone({ migration }, task, { wasReset }) {
    // If stateMutex is taken, its holder does this before it lets go.
    if (wasReset && migration?.stateMutex.tryLock(task)) return this.unlock(migration, task);
  },

  entered: catchUp,

  async unlock(migration, task) {
    try {
      // The last check and the release are one step: no reset can fall between them.
      while (this.isOutdated(migration)) await migration.resetRecord(task);
    } finally {
      migration.stateMutex.unlock(task);
    }
  },
};

async function catchUp(migration: Migration, task: Task): Promise<void> {
  while (generationStrategy.isOutdated(migration)) await migration.resetRecord(task);
}
