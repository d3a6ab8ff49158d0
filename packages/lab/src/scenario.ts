import type { Exploration } from "@vfiokit/explore";
import type { Task } from "@vfiokit/lockdep";
import { VfioError } from "@vfiokit/core";
import { MigrationState, type ResetStateRequirement } from "@vfiokit/core/migration";
import type { ResetInitiator } from "@vfiokit/core/lab";
import { Bench, type BenchOptions } from "./bench.js";
import type { Ops } from "./card.js";
import type { Design } from "./design.js";
import type { Operation } from "./operations.js";
import { paths } from "./paths.js";

/** A few tasks around a reset, small enough to be run in every order that matters. */
export interface Scenario {
  /** "ioctl/succeeds/one/read": the initiator, what becomes of the reset, the functions, what runs beside it. */
  readonly name: string;
  readonly initiator: ResetInitiator;
  readonly succeeds: boolean;
  readonly functions: 1 | 2;
  readonly ops: Ops;
  /** What runs beside the reset, each in a task of its own. */
  readonly beside: readonly Operation[];
  /** A second reset beside the first. */
  readonly second?: ResetInitiator;
  /** The task that has reset the device goes on with a transition. */
  readonly goesOn?: true;
  /** How far the series of patches has come that makes the op mandatory. */
  readonly step?: ResetStateRequirement;
}

/** Sets a scenario up, and declares its tasks. Called once for each execution. */
export async function stage(x: Exploration, design: Design, scenario: Scenario): Promise<Bench | undefined> {
  const path = paths[scenario.initiator];
  const bench = await build(design, scenario);
  if (!bench) return undefined;
  const { slots, slot } = bench;
  for (const each of slots) {
    await bench.use(each);
    if (each.device.migration) await bench.reach(each, scenario.beside[0]?.from ?? MigrationState.STOP_COPY);
  }
  slot.card.arcsFail = scenario.beside.some(({ fails }) => fails);
  await path.arm?.(bench);
  // The last one: a set may have been reset in part by then.
  slot.card.resetFails = !scenario.succeeds;
  bench.monitor.leaves = path.leaves === true || (scenario.second && paths[scenario.second].leaves) === true;
  await bench.explore(x);

  for (const initiator of [scenario.initiator, scenario.second]) {
    if (initiator)
      x.task(paths[initiator].leaves ? `client: ${initiator}` : initiator, (task) =>
        reset(bench, task, initiator, scenario),
      );
  }
  for (const operation of scenario.beside) {
    x.task(operation.name, async (task) => {
      await bench.attempt(operation.name, () => operation.run(bench, task));
    });
  }
  return bench;
}

async function build(design: Design, scenario: Scenario): Promise<Bench | undefined> {
  const { before = openAll, idlePower } = paths[scenario.initiator];
  const options: BenchOptions = { ...scenario, ...(idlePower && { idlePower }) };
  let bench: Bench;
  try {
    bench = new Bench(design, options);
  } catch (error) {
    if (error instanceof VfioError) return undefined; // registration refuses the driver
    throw error;
  }
  await before(bench);
  return bench;
}

async function openAll({ slots, task }: Bench): Promise<void> {
  for (const { device } of slots) await device.openDevice(task);
}

async function reset(bench: Bench, task: Task, initiator: ResetInitiator, scenario: Scenario): Promise<void> {
  await bench.attempt(initiator, () => paths[initiator].trigger(bench, task));
  for (const slot of bench.slots) await bench.monitor.returned(slot, task);
  if (!scenario.goesOn || !bench.slot.device.migration) return;
  const error = await bench.attempt("then STOP", () => bench.setState(bench.slot, task, MigrationState.STOP));
  if (error && bench.monitor.wasUndone(error, bench.slot, task))
    bench.monitor.violate(
      "no-lost-update",
      `${bench.slot.card.name}: a transition begun after the reset: ${error.message}`,
    );
}
