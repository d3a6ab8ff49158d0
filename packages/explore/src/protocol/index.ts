import { Mutex, RwSemaphore, type Task } from "@vfiokit/lockdep";
import type { Op, Scenario, Step } from "@vfiokit/lockdep/protocol";
import type { Body } from "../exploration.js";

type AnyLock = Mutex | RwSemaphore;

/** Steps that are places where others run, because the locks make them so. */
const BLOCKING: ReadonlySet<Op> = new Set(["lock", "lock_nested", "read", "read_recursive", "write"]);

/**
 * A scenario of a lock protocol file as a program to explore, with the real locks: each of its tasks once. A task
 * whose trylock fails lets go of what it holds and ends. A step that the locks refuse is an assertion failure.
 *
 * A protocol describes code that can be preempted anywhere. Only a trylock can tell, so only where there is one can
 * others run between any two steps.
 */
export function protocolBody(scenario: Scenario): Body {
  return (x) => {
    const locks = new Map<string, AnyLock>();
    for (const [name, spec] of scenario.locks)
      locks.set(
        name,
        spec.kind === "mutex" ? new Mutex(spec.class, name) : new RwSemaphore(spec.class, name),
      );
    const preemptive = scenario.tasks.some(({ steps }) => steps.some(({ op }) => op === "trylock"));
    for (const { name, steps } of scenario.tasks) {
      x.task(name, async (task) => {
        for (const step of steps) {
          if (preemptive && !BLOCKING.has(step.op)) await task.preempt();
          const goesOn = run(task, step, locks.get(step.lock)!);
          if ((await goesOn) === false) break;
        }
        task.end();
      });
    }
  };
}

/** False if the task has backed out. */
function run(task: Task, step: Step, lock: AnyLock): boolean | void | Promise<void> {
  const { subclass } = step;
  switch (step.op) {
    case "lock":
    case "write":
    case "lock_nested":
      return lock instanceof Mutex ? lock.lock(task, { subclass }) : lock.downWrite(task, { subclass });
    case "read":
    case "read_recursive":
      return (lock as RwSemaphore).downRead(task, { recursive: step.op === "read_recursive" });
    case "trylock": {
      const isFree =
        lock instanceof Mutex
          ? lock.tryLock(task)
          : step.mode === "read"
            ? lock.tryDownRead(task)
            : lock.tryDownWrite(task);
      if (!isFree) for (const hold of task.holds.toReversed()) hold[Symbol.dispose]();
      return isFree;
    }
    case "unlock": {
      const hold = task.holds.findLast((each) => each.lock === lock);
      if (!hold) throw new Error(`unlock(${step.lock}): ${task.name} does not hold it`);
      hold[Symbol.dispose]();
      return;
    }
    case "downgrade": {
      (lock as RwSemaphore).downgradeWrite(task);
      return;
    }
    case "assert_held":
    case "assert_not_held": {
      const isHeld = task.holds.some((hold) => hold.lock === lock);
      if (isHeld !== (step.op === "assert_held"))
        throw new Error(`${step.op}(${step.lock}) does not hold for ${task.name}`);
      return;
    }
  }
}
