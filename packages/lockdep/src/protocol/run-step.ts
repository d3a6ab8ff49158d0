import type { Hold } from "../hold.js";
import { Mutex } from "../mutex.js";
import { RwSemaphore } from "../rwsem.js";
import type { Task } from "../task.js";
import type { Scenario, Step } from "./program.js";

/** A lock of a scenario, as it runs. */
export type ProtocolLock = Mutex | RwSemaphore;

/** The scenario's locks by name. */
export function makeLocks({ locks }: Scenario): ReadonlyMap<string, ProtocolLock> {
  const make = { mutex: Mutex, rwsem: RwSemaphore };
  return new Map([...locks].map(([name, spec]) => [name, new make[spec.kind](spec.class, name)]));
}

/**
 * What a step of a protocol means, done with a real lock: the checker runs the steps one after the other, the explorer
 * in every interleaving.
 * @param failed is told of an assertion that does not hold
 * @returns false: a trylock failed, and the task, which lets go of everything, backs out. A promise: it waits
 * @throws LockError: the lock refuses the step
 */
export function runStep(
  task: Task,
  step: Step,
  lock: ProtocolLock,
  failed: (expected: "held" | "not held") => void,
): boolean | void | Promise<void> {
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
      const isFree = tryLock(task, step, lock);
      if (!isFree) for (const hold of task.holds.toReversed()) hold[Symbol.dispose]();
      return isFree;
    }
    case "unlock":
      if (lock instanceof Mutex) lock.unlock(task);
      else if (latest(task, lock)?.mode === "write") lock.upWrite(task);
      else lock.upRead(task);
      return;
    case "downgrade":
      (lock as RwSemaphore).downgradeWrite(task);
      return;
    case "assert_held":
      if (!latest(task, lock)) failed("held");
      return;
    case "assert_not_held":
      if (latest(task, lock)) failed("not held");
      return;
  }
}

function tryLock(task: Task, step: Step, lock: ProtocolLock): boolean {
  if (lock instanceof Mutex) return lock.tryLock(task);
  return step.mode === "read" ? lock.tryDownRead(task) : lock.tryDownWrite(task);
}

function latest(task: Task, lock: ProtocolLock): Hold | undefined {
  return task.holds.findLast((hold) => hold.lock === lock);
}
