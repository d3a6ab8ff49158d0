import type { RwSemaphore, Task } from "@vfiokit/lockdep";
import type { ResetDevice, ResetOutcome, ResetStrategy } from "./strategy.js";

/** A device whose BARs can be taken away. */
export interface ZappableDevice {
  readonly name: string;
  /** @internal What the strategy gets to see. */
  readonly resetView: ResetDevice;
  /** Linux: vdev->memory_lock. */
  readonly memoryLock: RwSemaphore;
  readonly strategy: ResetStrategy;
  /** @internal Invalidates every mapping of the BARs: the next touch faults, and waits for memoryLock. */
  zapBars(): void;
}

/** Linux: vfio_pci_zap_and_down_write_memory_lock. */
export async function zapAndDownWriteMemoryLock(device: ZappableDevice, task: Task): Promise<void> {
  const wait = device.memoryLock.downWrite(task);
  if (wait) await wait;
  device.zapBars();
}

/** As above, or false where the lock cannot be had at once: several of them are never waited for together. */
export function tryZapAndDownWriteMemoryLock(device: ZappableDevice, task: Task): boolean {
  if (!device.memoryLock.tryDownWrite(task)) return false;
  device.zapBars();
  return true;
}

/**
 * The one way to release a memoryLock that a path took in order to reset the device
 * (the review's vfio_pci_up_write_memory_lock_from_reset): whatever has to follow the release is scoped to it, and
 * cannot be forgotten on one path. The lock is released even if what follows fails.
 */
export function upWriteMemoryLockFromReset(
  device: ZappableDevice,
  task: Task,
  outcome: ResetOutcome,
): void | Promise<void> {
  device.memoryLock.upWrite(task);
  return device.strategy.memoryLockReleased(device.resetView, task, outcome);
}
