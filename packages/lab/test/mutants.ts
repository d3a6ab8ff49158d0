import type { Invariant } from "@vfiokit/lab";

/** A deliberate bug in the default design: `from` in a file of the core becomes `to`. */
export interface Mutant {
  readonly name: string;
  /** An invariant that shows it. */
  readonly fails: Invariant;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const STRATEGY = "packages/core/src/reset/strategy.ts";
const MACHINE = "packages/core/src/migration/machine.ts";
const SESSION = "packages/core/src/migration/session.ts";
const ENTRY = "packages/core/src/reset/entry.ts";
const SET = "packages/core/src/reset/device-set.ts";
const MEMORY_LOCK = "packages/core/src/reset/memory-lock.ts";

export const mutants: readonly Mutant[] = [
  {
    name: "the generation is not looked at when a session is read",
    fails: "reset-complete",
    file: SESSION,
    from: "return !this.closed && this.#generation >= present;",
    to: "return !this.closed && present >= 0;",
  },
  {
    name: "a transition is not told that a reset overtook it",
    fails: "no-resurrection",
    file: STRATEGY,
    from: "device.migration?.abortArc();",
    to: "",
  },
  {
    name: "the driver is not told that a reset overtook its arc",
    fails: "no-resurrection",
    file: MACHINE,
    from: "this.ops.migrationSetState(from, to, signal)",
    to: "this.ops.migrationSetState(from, to, new AbortController().signal)",
  },
  {
    name: "an arc that a reset overtook is recorded all the same",
    fails: "reset-complete",
    file: MACHINE,
    from: "    if (this.strategy.isOutdated(this)) throw overtaken();\n    this.#state.value = to;",
    to: "    this.#generation.value = this.device.generation;\n    this.#state.value = to;",
  },
  {
    name: "the observer sees the record as it is",
    fails: "reset-complete",
    file: MACHINE,
    from: "return this.strategy.isOutdated(this) ? this.#stateAfterReset : this.#state.value;",
    to: "return this.#state.value;",
  },
  {
    name: "the op runs before the memoryLock is released",
    fails: "no-cycle",
    file: MEMORY_LOCK,
    from: "  device.memoryLock.upWrite(task);\n  return device.strategy.memoryLockReleased(device.resetView, task, outcome);",
    to: `  const done = () => {
    device.memoryLock.upWrite(task);
    return device.strategy.memoryLockReleased(device.resetView, task, outcome);
  };
  const cleaning = device.strategy.pathDone(device.resetView, task, outcome);
  return cleaning ? cleaning.then(done) : done();`,
  },
  {
    name: "a hot reset calls the op of one function while another one's memoryLock is held",
    fails: "no-cycle",
    file: STRATEGY,
    from: "  memoryLockReleased: () => undefined,",
    to: `  memoryLockReleased(device, task, outcome) {
    return this.pathDone(device, task, outcome);
  },`,
  },
  {
    name: "the reset waits for stateMutex while it holds the memoryLock",
    fails: "no-cycle",
    file: STRATEGY,
    from: "  resetDone: () => undefined,",
    to: `  async resetDone({ migration }, task) {
    if (!migration) return;
    await migration.stateMutex.lock(task);
    await this.unlock(migration, task);
  },`,
  },
  {
    name: "a reset that failed counts",
    fails: "no-spurious-reset",
    file: STRATEGY,
    from: "if (wasReset && migration?.stateMutex.tryLock(task)) return this.unlock(migration, task);",
    to: `if (migration?.stateMutex.tryLock(task))
      return migration.resetRecord(task).then(() => this.unlock(migration, task));`,
  },
  {
    name: "stateMutex is let go before the record is brought up to date",
    fails: "no-crash",
    file: STRATEGY,
    from: `      while (this.isOutdated(migration)) await migration.resetRecord(task);
    } finally {
      migration.stateMutex.unlock(task);
    }`,
    to: `      migration.stateMutex.unlock(task);
    } finally {
      while (this.isOutdated(migration)) await migration.resetRecord(task);
    }`,
  },
  {
    name: "who holds stateMutex does not look for a reset before letting go",
    fails: "reset-complete",
    file: STRATEGY,
    from: "      while (this.isOutdated(migration)) await migration.resetRecord(task);\n    } finally {",
    to: "    } finally {",
  },
  {
    name: "the generation counts before the function was reset",
    fails: "no-spurious-reset",
    file: ENTRY,
    from: "    const resetting = device.resetFunction(task.signal);",
    to: "    device.generation++;\n    const resetting = device.resetFunction(task.signal);",
  },
  {
    name: "the generation does not count on a power transition",
    fails: "all-paths",
    file: ENTRY,
    from: "      device.generation++;",
    to: `      if (rules.title !== initiators["power-on"].title) device.generation++;`,
  },
  {
    name: "devices without migration ops are forgotten",
    fails: "no-crash",
    file: STRATEGY,
    from: "if (wasReset && migration?.stateMutex.tryLock(task))",
    to: "if (wasReset && migration!.stateMutex.tryLock(task))",
  },
  {
    name: "a hot reset waits for memoryLocks that it cannot have at once",
    fails: "no-cycle",
    file: SET,
    from: "if (!tryZapAndDownWriteMemoryLock(device, task)) {",
    to: "await device.memoryLock.downWrite(task);\n        if (!device.memoryLock.isHeldBy(task)) {",
  },
  {
    name: "the memoryLock is not released when the reset fails",
    fails: "no-crash",
    file: ENTRY,
    from: "const following = rules.memoryLock && upWriteMemoryLockFromReset(device, task, outcome);",
    to: "const following =\n        rules.memoryLock && outcome.wasReset && upWriteMemoryLockFromReset(device, task, outcome);",
  },
];
