import { replay } from "@vfiokit/explore";
import { formatProblem, type Lock } from "@vfiokit/lockdep";
import { observe, observer, type LockObserver } from "@vfiokit/lockdep/hooks";
import type { Bench } from "./bench.js";
import { scenarioBody, violationOf } from "./body.js";
import { catalogue } from "./catalogue.js";
import type { Design } from "./design.js";
import { designs } from "./designs/index.js";
import type { Violation } from "./invariants.js";
import type { Scenario } from "./scenario.js";
import { warmUp } from "./warm-up.js";

/** The schedule of what needs none: the order of locks shows before two tasks meet. */
export const WARM_UP = "warm-up";

/** How to see a violation again: "callback/ioctl/fails/one/read@0x3,1,0x2". */
export function formatWitness(design: Design, scenario: Scenario | undefined, schedule: string): string {
  const where = scenario ? `${design.name}/${scenario.name}` : design.name;
  return `${where}@${schedule.replaceAll("*", "x").replaceAll(" ", ",")}`;
}

export interface Witness {
  readonly design: Design;
  /** Undefined: the warm-up. */
  readonly scenario: Scenario | undefined;
  readonly schedule: string;
}

/** @throws Error naming what is not known */
export function parseWitness(text: string): Witness {
  const [, designName, scenarioName, schedule] = /^([^/@]+)(?:\/([^@]+))?@(.*)$/.exec(text) ?? [];
  const design = designs.find(({ name }) => name === designName);
  if (!design || schedule === undefined)
    throw new Error(`witness "${text}": not of the form DESIGN/SCENARIO@SCHEDULE`);
  const scenario = catalogue.find(({ name }) => name === scenarioName);
  if (!scenario && (scenarioName !== undefined || schedule !== WARM_UP))
    throw new Error(`witness "${text}": no scenario is called "${scenarioName ?? ""}"`);
  return { design, scenario, schedule: schedule.replaceAll("x", "*").replaceAll(",", " ") };
}

/** A line of a witness. */
export interface WitnessLine {
  /** "" for what no task does. */
  readonly task: string;
  readonly text: string;
}

export interface Replayed {
  readonly lines: readonly WitnessLine[];
  readonly violations: readonly Violation[];
}

/** Runs a witness again, and tells what happens. @throws Error for what is no witness */
export async function replayWitness(text: string): Promise<Replayed> {
  const { design, scenario, schedule } = parseWitness(text);
  if (!scenario) return replayWarmUp(design);
  const { body, last } = scenarioBody(design, scenario);
  let bench: Bench | undefined;
  const report = await replay(
    async (x) => {
      await warmUp(design);
      const validator = observer;
      x.finally(() => observe(validator));
      await body(x);
      ({ bench } = last());
      if (bench) watchLocks(bench);
    },
    schedule,
    { lockdep: false },
  );
  const [failure] = report.failures;
  const trace = failure?.trace ?? [];
  const lines = (bench?.notes ?? []).map((note) => ({
    task: note.task ?? trace[note.after]?.task ?? "",
    text: note.text,
  }));
  if (failure && failure.kind !== "assertion")
    lines.push({ task: "", text: `${failure.kind}: ${failure.message}` });
  return { lines, violations: last().violations };
}

async function replayWarmUp(design: Design): Promise<Replayed> {
  const [problem] = await warmUp(design);
  if (!problem) return { lines: [], violations: [] };
  return {
    lines: formatProblem(problem)
      .split("\n")
      .map((text) => ({ task: "", text })),
    violations: [violationOf(problem)],
  };
}

/** Notes who takes which lock, and who waits for whom. */
function watchLocks(bench: Bench): void {
  const validator = observer;
  const names = new Map<Lock, string>();
  for (const { device } of bench.slots) {
    const { name, memoryLock, deviceLock, migration, dma, irqs } = device;
    names.set(device.set.lock, "deviceSet.lock");
    for (const lock of [memoryLock, deviceLock, migration?.stateMutex, dma.mmapLock, irqs.igate])
      if (lock) names.set(lock, `${name}'s ${lock.className}`);
  }
  const nameOf = (lock: Lock): string => names.get(lock) ?? lock.className;
  const watching: LockObserver = {
    acquire: (...args) => validator?.acquire(...args),
    contended(waiter) {
      const holders = waiter.lock.holders().map(({ name }) => name);
      bench.note(`waits for ${nameOf(waiter.lock)}, held by ${holders.join(", ")}`);
      validator?.contended(waiter);
    },
    abandoned: (waiter) => validator?.abandoned(waiter),
    acquired(hold) {
      const how = hold.mode === "exclusive" ? "" : hold.mode === "write" ? " for writing" : " for reading";
      bench.note(`${hold.trylock ? "tries and takes" : "takes"} ${nameOf(hold.lock)}${how}`, hold.task.name);
      validator?.acquired(hold);
    },
    downgraded: (hold) => validator?.downgraded(hold),
    released(hold, wasLast) {
      bench.note(`releases ${nameOf(hold.lock)}`);
      validator?.released(hold, wasLast);
    },
    badUnlock: (task, lock) => validator?.badUnlock(task, lock),
    recursion: (...args) => validator?.recursion(...args),
    ended: (task) => validator?.ended(task),
  };
  observe(watching);
}
