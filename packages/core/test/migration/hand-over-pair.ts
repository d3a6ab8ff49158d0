import {
  definePciDevice,
  sections,
  u32,
  PciDevice,
  type FunctionHost,
  type PciFunction,
} from "@vfiokit/core";
import { newHandOverId, MigrationState, type DeviceMigration, type HandOver } from "@vfiokit/core/migration";
import { Task } from "@vfiokit/lockdep";

/** A device with one register, which knows whether it runs. */
export class Box implements PciFunction {
  value = 0;
  running = true;
  /** Thrown by the next `run`. */
  failure: Error | undefined;

  constructor(readonly host: FunctionHost) {}

  reset(): void {
    this.value = 0;
  }

  stop(): void {
    this.running = false;
  }

  run(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
    this.running = true;
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
  });
}

export interface Side {
  readonly box: Box;
  readonly device: PciDevice;
  readonly migration: DeviceMigration;
  readonly handOver: HandOver;
  readonly task: Task;
}

export function plugIn(name: string): Side {
  let box!: Box;
  const device = new PciDevice(
    definePciDevice({
      name: "box",
      id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
      create: (host) => (box = new Box(host)),
    }),
    { name },
  );
  return {
    box,
    device,
    migration: device.migration!,
    handOver: device.handOver!,
    task: new Task(`client of ${name}`),
  };
}

export interface Pair {
  readonly from: Side;
  readonly to: Side;
  readonly id: string;
}

/** What the source's register holds, and the target's after the hand-over. */
export const VALUE = 42;

/** A running source, and a target that waits for an image. */
export async function pair(): Promise<Pair> {
  const [from, to] = [plugIn("from"), plugIn("to")];
  from.box.value = VALUE;
  await to.migration.setState(to.task, MigrationState.RESUMING);
  return { from, to, id: newHandOverId(from.handOver.instance) };
}

/** Stops the source, and loads its image into the target: all that comes before `prepare`. */
export async function copy(both: Pair): Promise<void> {
  await transfer(both);
  await both.to.migration.setState(both.to.task, MigrationState.STOP);
}

/** Stops the source, and sends its image to the target, which does not load it yet. */
export async function transfer({ from, to }: Pair): Promise<void> {
  await from.migration.setState(from.task, MigrationState.STOP_COPY);
  const piece = new Uint8Array(64);
  for (let count; (count = await from.migration.readData(from.task, piece)) > 0;)
    await to.migration.writeData(to.task, piece.subarray(0, count));
}
