import type { Task } from "@vfiokit/lockdep";
import { IrqIndex, RegionIndex } from "@vfiokit/core";
import { MigrationFlags, MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { migrationOf, nextState } from "@vfiokit/core/lab";
import { BAR_AT, BUFFER_AT, type Bench } from "./bench.js";
import { BAR_MEMORY, BAR_REGISTERS } from "./card.js";

/** Something that a client does while the device is reset. */
export interface Operation {
  readonly name: string;
  /** The state that the device is in before. */
  readonly from: MigrationState;
  /** It is about migration: a device without ops has no such thing. */
  readonly migrates: boolean;
  /** It moves the device to this state. */
  readonly to?: MigrationState;
  /** Its arcs fail. */
  readonly fails?: true;
  readonly run: (bench: Bench, task: Task) => Promise<void>;
}

const { RUNNING, STOP_COPY, RESUMING, ERROR } = MigrationState;
const states = Object.values(MigrationState).filter((state) => state !== ERROR);
const allFlags = MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY;

function setState(from: MigrationState, to: MigrationState, fails?: true): Operation {
  const name = `${migrationStateName(from)}-${migrationStateName(to)}`;
  return {
    name: fails ? `${name}-fails` : name,
    from,
    to,
    migrates: true,
    ...(fails && { fails }),
    run: (bench, task) => bench.setState(bench.slot, task, to),
  };
}

function does(name: string, from: MigrationState, run: Operation["run"]): Operation {
  return { name, from, migrates: from !== RUNNING, run };
}

/** The uAPI's single arcs. */
function isArc(from: MigrationState, to: MigrationState): boolean {
  if (from === to) return false;
  try {
    return nextState(from, to, allFlags) === to;
  } catch {
    return false; // there is no way
  }
}

const others: readonly Operation[] = [
  // Transitions of several arcs, and one that fails.
  setState(RUNNING, STOP_COPY),
  setState(STOP_COPY, RUNNING),
  setState(RUNNING, MigrationState.PRE_COPY, true),
  does("read", STOP_COPY, async ({ slot: { device } }, task) => {
    await device.migration!.readData(task, new Uint8Array(4));
  }),
  does("read-to-client", STOP_COPY, async ({ slot: { device } }, task) => {
    await migrationOf(device)!.readDataTo(task, device.dma, BUFFER_AT, 4);
  }),
  does("write", RESUMING, async ({ slot: { device } }, task) => {
    await device.migration!.writeData(task, new Uint8Array(4));
  }),
  does("map-bar", RUNNING, async ({ slot, slots }, task) => {
    // Where there are two functions, the peer's: that is what peer-to-peer is for.
    const backing = slots[0]!.device.barBacking(BAR_MEMORY);
    await slot.device.dma.map(task, {
      address: BAR_AT,
      size: 0x1000n,
      readable: true,
      writable: true,
      backing,
    });
    slot.card.touch();
  }),
  does("bar-access", RUNNING, async ({ slot: { device, card, mapping } }, task) => {
    await device.readRegion(task, RegionIndex.BAR0 + BAR_REGISTERS, 0, 4, new Uint8Array(4), 0);
    await mapping.fault(task);
    card.touch();
  }),
  does("set-irqs", RUNNING, async ({ slot: { device, card } }, task) => {
    await device.setIrqs(task, {
      index: IrqIndex.INTX,
      start: 0,
      count: 1,
      action: "trigger",
      data: { triggers: [null] },
    });
    card.touch();
  }),
];

/** Everything, by name. */
export const operations: ReadonlyMap<string, Operation> = new Map(
  [
    ...states.flatMap((from) => states.filter((to) => isArc(from, to)).map((to) => setState(from, to))),
    ...others,
  ].map((operation) => [operation.name, operation]),
);

/** The operation of that name. */
export function operation(name: string): Operation {
  return operations.get(name)!;
}
