import type { RwSemaphore, Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { Migration } from "../migration/machine.js";
import { initiators, type ResetInitiator } from "./initiator.js";

/** What the door needs of a device. */
export interface Resettable {
  readonly name: string;
  readonly memoryLock: RwSemaphore;
  readonly migration: Migration | undefined;
  /** Counts the resets that really happened. Only the door increments it. */
  generation: number;
  /** Puts the function at its power-on values. Under memoryLock held for writing. */
  resetFunction(): void | Promise<void>;
}

/**
 * The one way in which a device is reset.
 *
 * A reset that happened increments the generation while memoryLock is still held for writing: whatever a migration
 * made before is dead from that moment on, for any observer and without any other lock. A reset that failed changes
 * nothing. What the driver itself must tidy up runs after memoryLock is released (Migration.afterReset), so
 * memoryLock is never held while a migration lock is taken: the lock order has no cycle.
 *
 * @throws VfioError EIO when the function could not be reset
 */
export async function resetDevice(device: Resettable, task: Task, initiator: ResetInitiator): Promise<void> {
  const wait = device.memoryLock.downWrite(task);
  if (wait) await wait;
  try {
    const resetting = device.resetFunction();
    if (resetting) await resetting;
    device.generation++;
    device.migration?.abortArc();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VfioError("EIO", `${device.name}: ${initiators[initiator].title} failed: ${why}`);
  } finally {
    device.memoryLock.upWrite(task);
  }
  await device.migration?.afterReset(task);
}
