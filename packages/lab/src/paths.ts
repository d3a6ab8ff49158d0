import type { Task } from "@vfiokit/lockdep";
import { RegionIndex, type IdlePower } from "@vfiokit/core";
import { PowerState } from "@vfiokit/core/pci";
import type { ResetInitiator } from "@vfiokit/core/lab";
import type { Bench } from "./bench.js";

/** How an initiator is set off: by what a client, a guest or an administrator really does. */
export interface Path {
  /** Resets the bus. */
  readonly wholeSet?: true;
  readonly idlePower?: IdlePower;
  /** The client goes: its migration is abandoned, whether the device is reset or not. */
  readonly leaves?: true;
  /** Before the device is in use. Default: every function is opened. */
  readonly before?: (bench: Bench) => Promise<void>;
  /** After the migration has reached its state. */
  readonly arm?: (bench: Bench) => Promise<void>;
  /** Rejects with what its caller hears. */
  readonly trigger: (bench: Bench, task: Task) => Promise<void>;
}

async function openAll(bench: Bench): Promise<void> {
  for (const { device } of bench.slots) await device.openDevice(bench.task);
}

/** Functions that cannot be reset one by one are tried with the bus when the last of them is closed. */
async function openWithoutReset(bench: Bench): Promise<void> {
  for (const { card } of bench.slots) card.resetFails = true;
  await openAll(bench);
  for (const { card } of bench.slots) card.resetFails = false;
}

const nothing = (): Promise<void> => Promise.resolve();

/** One for each initiator: a new one does not compile until it is set off here. */
export const paths: Readonly<Record<ResetInitiator, Path>> = {
  ioctl: { trigger: ({ slot }, task) => slot.device.reset(task) },
  "flr-pcie": { trigger: (bench, task) => bench.flrPcie(bench.slot, task) },
  "flr-af": { trigger: (bench, task) => bench.flrAf(bench.slot, task) },
  "power-on": {
    arm: (bench) => bench.powerState(bench.slot, bench.task, PowerState.D3HOT),
    trigger: (bench, task) => bench.powerState(bench.slot, task, PowerState.D0),
  },
  "hot-reset": {
    wholeSet: true,
    trigger: ({ slot, slots }, task) =>
      slot.device.set.hotReset(task, new Set(slots.map(({ device }) => device))),
  },
  enable: { before: nothing, trigger: ({ slot }, task) => slot.device.openDevice(task) },
  disable: { leaves: true, trigger: ({ slot }, task) => slot.device.closeDevice(task) },
  "last-close": {
    wholeSet: true,
    leaves: true,
    before: openWithoutReset,
    arm: async ({ slots, task }) => {
      for (const { device } of slots.slice(0, -1)) await device.closeDevice(task);
    },
    trigger: ({ slot }, task) => slot.device.closeDevice(task),
  },
  sysfs: { trigger: ({ slot }, task) => slot.device.reset(task, "sysfs") },
  "slot-reset": { trigger: ({ slot }, task) => slot.device.reset(task, "slot-reset") },
  "runtime-resume": {
    idlePower: "D3cold",
    arm: ({ slot, task }) => slot.device.runtimePm.lowPowerEntry(task),
    trigger: async ({ slot }, task) => {
      await slot.device.readRegion(task, RegionIndex.CONFIG, 0, 4, new Uint8Array(4), 0);
    },
  },
  disconnect: { leaves: true, before: nothing, trigger: ({ slot }, task) => slot.device.disconnect(task) },
};
