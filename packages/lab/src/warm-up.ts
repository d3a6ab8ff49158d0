import { Task, lockdep, type Problem } from "@vfiokit/lockdep";
import { MigrationState } from "@vfiokit/core/migration";
import { initiators, type ResetInitiator } from "@vfiokit/core/lab";
import { Bench } from "./bench.js";
import type { Design } from "./design.js";
import { operations } from "./operations.js";
import { paths } from "./paths.js";

/**
 * Does every operation and sets every reset off, one after the other: no two tasks ever meet. The validator needs no
 * more to know which locks are taken under which. It starts from an empty graph.
 * @returns the problems that this has shown already
 */
export async function warmUp(design: Design): Promise<readonly Problem[]> {
  const problems: Problem[] = [];
  const before = lockdep.mode;
  lockdep.reset();
  lockdep.configure({ mode: (problem) => problems.push(problem) });
  try {
    for (const ops of ["present", "absent"] as const) {
      for (const { name, from, migrates, run } of operations.values()) {
        if (migrates && ops === "absent") continue;
        const bench = new Bench(design, { functions: 1, ops });
        await bench.use(bench.slot);
        await bench.reach(bench.slot, from);
        await bench.attempt("", () => run(bench, new Task(name)));
      }
      for (const [initiator, path] of Object.entries(paths))
        await setOff(design, initiator as ResetInitiator, path, ops);
    }
  } finally {
    lockdep.configure({ mode: before });
  }
  return problems;
}

async function setOff(
  design: Design,
  initiator: ResetInitiator,
  { wholeSet, idlePower, before, arm, trigger }: (typeof paths)[ResetInitiator],
  ops: "present" | "absent",
): Promise<void> {
  const bench = new Bench(design, { functions: wholeSet ? 2 : 1, ops, ...(idlePower && { idlePower }) });
  // What crashes here, crashes in its scenarios, too.
  await bench.attempt("", async () => {
    if (before) await before(bench);
    else for (const { device } of bench.slots) await device.openDevice(bench.task);
    for (const slot of bench.slots) {
      await bench.use(slot);
      await bench.reach(slot, MigrationState.STOP_COPY);
    }
    await arm?.(bench);
    await trigger(bench, new Task(initiators[initiator].title));
  });
}
