import type { Mutex, Task } from "@vfiokit/lockdep";
import type { RuntimePm } from "../device/runtime-pm.js";
import { VfioError } from "../errno.js";
import { initiators, type InitiatorRules, type ResetInitiator } from "./initiator.js";
import { upWriteMemoryLockFromReset, zapAndDownWriteMemoryLock, type ZappableDevice } from "./memory-lock.js";
import type { ResetOutcome } from "./strategy.js";

/** What the entry point needs of a device. */
export interface ResettableDevice extends ZappableDevice {
  /** Linux: device_lock(&pdev->dev). Held by whoever resets, binds or removes the function itself. */
  readonly deviceLock: Mutex;
  readonly runtimePm: RuntimePm;
  /** Counts the resets that really happened. Only the entry point increments it. */
  generation: number;
  /** Found when the device was opened: its reset works. */
  readonly resetWorks: boolean;
  /** @internal Brings the function to D0. @returns true if that transition itself resets the function */
  powerOn(): boolean;
  /** @internal Resets the function itself, which may take time. @throws, or rejects, if it was not reset */
  resetFunction(signal: AbortSignal | undefined): void | Promise<void>;
  /** @internal Puts everything that the core keeps for the function at its power-on values. */
  powerOnValues(): void;
}

/**
 * The one way in which a function is reset, by every initiator of scope "function" (device-set.ts has the others).
 * Locks are taken and released as the initiator's rules say, whatever happens in between.
 *
 * @throws VfioError EINVAL: its reset does not work; EAGAIN: somebody else has its deviceLock; what the function's
 *   reset threw (EIO if that is no VfioError), and then nothing has changed; what the driver's migrationResetState threw
 */
export async function resetDevice(
  device: ResettableDevice,
  task: Task,
  initiator: ResetInitiator,
): Promise<void> {
  const rules: InitiatorRules = initiators[initiator];
  if (rules.needsResetWorks && !device.resetWorks) {
    throw new VfioError("EINVAL", `${device.name}: ${rules.title}: the device's reset does not work`);
  }
  const outcome: ResetOutcome = { initiator, wasReset: false };
  if (!rules.wakes) return resetAwake(device, task, rules, outcome);
  await device.runtimePm.get(task);
  try {
    await resetAwake(device, task, rules, outcome);
  } finally {
    device.runtimePm.put();
  }
}

async function resetAwake(
  device: ResettableDevice,
  task: Task,
  rules: InitiatorRules,
  outcome: ResetOutcome,
): Promise<void> {
  if (rules.memoryLock) await zapAndDownWriteMemoryLock(device, task);
  try {
    try {
      if (rules.powersOn) await powerOn(device, task, outcome);
      await resetLocked(device, task, rules, outcome);
    } finally {
      const following = rules.memoryLock && upWriteMemoryLockFromReset(device, task, outcome);
      if (following) await following;
    }
  } finally {
    await device.strategy.pathDone(device.resetView, task, outcome);
  }
}

/** Brings the function to D0, which may itself reset it: that counts, whatever becomes of the reset asked for. */
export async function powerOn(device: ResettableDevice, task: Task, outcome: ResetOutcome): Promise<void> {
  if (device.powerOn()) await resetHardware(device, task, initiators["power-on"], outcome);
}

/** Takes deviceLock and resets (Linux: pci_try_reset_function, pci_reset_function). */
async function resetLocked(
  device: ResettableDevice,
  task: Task,
  rules: InitiatorRules,
  outcome: ResetOutcome,
): Promise<void> {
  if (rules.deviceLock === "none") return resetHardware(device, task, rules, outcome);
  if (rules.deviceLock === "wait") {
    const wait = device.deviceLock.lock(task);
    if (wait) await wait;
  } else if (!device.deviceLock.tryLock(task)) {
    throw new VfioError("EAGAIN", `${device.name}: ${rules.title}: the device is being reset or removed`);
  }
  try {
    await resetHardware(device, task, rules, outcome);
  } finally {
    device.deviceLock.unlock(task);
  }
}

/**
 * Resets the hardware of one function, and tells those who must know. Power-on values and the new generation come in
 * one step: no observer sees a function that was reset with a migration that was not.
 */
export async function resetHardware(
  device: ResettableDevice,
  task: Task,
  rules: InitiatorRules,
  outcome: ResetOutcome,
): Promise<void> {
  try {
    const resetting = device.resetFunction(task.signal);
    if (resetting) await resetting;
    try {
      device.powerOnValues();
    } finally {
      // Even if the device, which was reset, cannot start again.
      outcome.wasReset = true;
      device.generation++;
      device.strategy.happened(device.resetView);
    }
  } catch (error) {
    if (error instanceof VfioError || task.signal?.aborted) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new VfioError("EIO", `${device.name}: ${rules.title} failed: ${why}`);
  } finally {
    if (rules.resetDone) await device.strategy.resetDone(device.resetView, task, outcome);
  }
}
