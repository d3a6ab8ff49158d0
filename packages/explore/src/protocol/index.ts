import { makeLocks, runStep, type Op, type Scenario } from "@vfiokit/lockdep/protocol";
import type { Body } from "../exploration.js";

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
    const locks = makeLocks(scenario);
    const preemptive = scenario.tasks.some(({ steps }) => steps.some(({ op }) => op === "trylock"));
    for (const { name, steps } of scenario.tasks) {
      x.task(name, async (task) => {
        for (const step of steps) {
          if (preemptive && !BLOCKING.has(step.op)) await task.preempt();
          const goesOn = runStep(task, step, locks.get(step.lock)!, (expected) => {
            throw new Error(`${step.op}(${step.lock}): ${task.name} expects it to be ${expected}`);
          });
          // A step that waits for nothing is no point where others run.
          let outcome: unknown = goesOn;
          // eslint-disable-next-line @typescript-eslint/no-confusing-void-expression -- a step that has no outcome
          if (goesOn instanceof Promise) outcome = await goesOn;
          if (outcome === false) break;
        }
        task.end();
      });
    }
  };
}
