import { Task } from "@vfiokit/lockdep";
import { DeviceSet, type IdlePower } from "@vfiokit/core";
import { PowerState } from "@vfiokit/core/pci";
import { generationStrategy, type ResetInitiator, type ResetStrategy } from "@vfiokit/core/lab";
import { Bench, CONFIG, type Ops } from "./card.js";

/** How a test drives an initiator: by what a client, a guest or an administrator really does. */
interface Path {
  /** Functions on the bus. The first is the one that is looked at. */
  readonly functions?: number;
  readonly idlePower?: IdlePower;
  /** Before the device is in use. Default: it is opened, as a VFIO file is. */
  before?(benches: readonly Bench[]): Promise<void>;
  /** After the migration has reached its state. */
  arm?(benches: readonly Bench[]): Promise<void>;
  /** Sets the reset off. Rejects with what its caller hears. */
  trigger(benches: readonly Bench[], task: Task): Promise<void>;
}

async function openAll(benches: readonly Bench[]): Promise<void> {
  for (const { device, task } of benches) await device.openDevice(task);
}

/** A reset that does not work one by one is tried for the whole bus when the last function is closed. */
async function openWithoutReset(benches: readonly Bench[]): Promise<void> {
  for (const { card } of benches) failResets(card);
  await openAll(benches);
  for (const { card } of benches) card.hook = () => undefined;
}

/** Makes the function's own reset fail. */
export function failResets(card: Bench["card"]): void {
  card.hook = (call) => {
    if (call === "reset") throw new Error("the firmware does not answer");
  };
}

const nothing = (): Promise<void> => Promise.resolve();

/** One entry an initiator: a new one does not compile until it is driven here. */
export const paths: Readonly<Record<ResetInitiator, Path>> = {
  ioctl: { trigger: ([bench], task) => bench!.device.reset(task) },
  "flr-pcie": { trigger: ([bench], task) => bench!.flrPcie(task) },
  "flr-af": { trigger: ([bench], task) => bench!.flrAf(task) },
  "power-on": {
    arm: ([bench]) => bench!.powerState(PowerState.D3HOT),
    trigger: ([bench], task) => bench!.powerState(PowerState.D0, task),
  },
  "hot-reset": {
    functions: 2,
    trigger: (benches, task) =>
      benches[0]!.device.set.hotReset(task, new Set(benches.map(({ device }) => device))),
  },
  enable: { before: nothing, trigger: ([bench], task) => bench!.device.openDevice(task) },
  disable: { trigger: ([bench], task) => bench!.device.closeDevice(task) },
  "last-close": {
    functions: 2,
    before: openWithoutReset,
    arm: ([, other]) => other!.device.closeDevice(other!.task),
    trigger: ([bench], task) => bench!.device.closeDevice(task),
  },
  sysfs: { trigger: ([bench], task) => bench!.device.reset(task, "sysfs") },
  "slot-reset": { trigger: ([bench], task) => bench!.device.reset(task, "slot-reset") },
  "runtime-resume": {
    idlePower: "D3cold",
    arm: ([bench]) => bench!.device.runtimePm.lowPowerEntry(bench!.task),
    trigger: async ([bench], task) => {
      await bench!.device.readRegion(task, CONFIG, 0, 4, new Uint8Array(4), 0);
    },
  },
  disconnect: { before: nothing, trigger: ([bench], task) => bench!.device.disconnect(task) },
};

/** The initiators whose path takes the client away. */
export const leavingPaths: readonly ResetInitiator[] = ["disable", "last-close", "disconnect"];

/** The cards of a path, in use, and with their migrations where `reach` leads them. */
export async function prepare(
  initiator: ResetInitiator,
  ops: Ops,
  reach: (bench: Bench) => Promise<void> = nothing,
  strategy: ResetStrategy = generationStrategy,
): Promise<{ benches: readonly Bench[]; warnings: string[] }> {
  const path = paths[initiator];
  const warnings: string[] = [];
  const set = new DeviceSet();
  const benches = Array.from(
    { length: path.functions ?? 1 },
    (_, i) =>
      new Bench({
        ops,
        set,
        strategy,
        name: `card.${i}`,
        idlePower: path.idlePower ?? "D0",
        warn: (message) => warnings.push(message),
      }),
  );
  await (path.before ?? openAll)(benches);
  for (const bench of benches) {
    await bench.use();
    await reach(bench);
  }
  await path.arm?.(benches);
  for (const { card } of benches) card.calls.length = 0;
  return { benches, warnings };
}
