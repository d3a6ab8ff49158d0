import { replay, type Exploration } from "@vfiokit/explore";
import { formatProblem } from "@vfiokit/lockdep";
import { observe, observer } from "@vfiokit/lockdep/hooks";
import type { Bench } from "./bench.js";
import { PROMISES, scenarioBody, violationOf } from "./body.js";
import { catalogue } from "./catalogue.js";
import type { Design } from "./design.js";
import { designs } from "./designs/index.js";
import type { Violation } from "./invariants.js";
import { violatedBy } from "./judge.js";
import { Recorder, type LockEvent } from "./recorder.js";
import type { Scenario } from "./scenario.js";
import { warmUp } from "./warm-up.js";

/** The schedule of what needs none: the order of locks shows before two tasks meet. */
export const WARM_UP = "warm-up";

/** How to see a violation again: "callback/ioctl/fails/one/read@0x3,1,0x2". */
export function formatCounterexample(
  design: Design,
  scenario: Scenario | undefined,
  schedule: string,
): string {
  const where = scenario ? `${design.name}/${scenario.name}` : design.name;
  return `${where}@${schedule.replaceAll("*", "x").replaceAll(" ", ",")}`;
}

export interface Counterexample {
  readonly design: Design;
  /** Undefined: the warm-up. */
  readonly scenario: Scenario | undefined;
  readonly schedule: string;
}

/** @throws Error naming what is not known */
export function parseCounterexample(text: string): Counterexample {
  const [, designName, scenarioName, schedule] = /^([^/@]+)(?:\/([^@]+))?@(.*)$/.exec(text) ?? [];
  const design = designs.find(({ name }) => name === designName);
  if (!design || schedule === undefined)
    throw new Error(`counterexample "${text}": not of the form DESIGN/SCENARIO@SCHEDULE`);
  const scenario = catalogue.find(({ name }) => name === scenarioName);
  if (!scenario && (scenarioName !== undefined || schedule !== WARM_UP))
    throw new Error(`counterexample "${text}": no scenario is called "${scenarioName ?? ""}"`);
  return { design, scenario, schedule: schedule.replaceAll("x", "*").replaceAll(",", " ") };
}

/** A line of a counterexample. */
export interface CounterexampleLine {
  /** "" for what no task does. */
  readonly task: string;
  readonly text: string;
  readonly lock?: LockEvent;
}

/** A counterexample that was run again: what happened, line by line, and which invariants it broke. */
export interface Replayed {
  readonly lines: readonly CounterexampleLine[];
  readonly violations: readonly Violation[];
}

/** Runs a counterexample again, and tells what happens. @throws Error for what is no counterexample */
export async function replayCounterexample(text: string): Promise<Replayed> {
  const { design, scenario, schedule } = parseCounterexample(text);
  if (!scenario) return replayWarmUp(design);
  const { body, last } = scenarioBody(design, scenario);
  let bench: Bench | undefined;
  const report = await replay(
    async (x) => {
      let validator = observer;
      x.finally(() => observe(validator));
      let recorder: Recorder | undefined;
      await body(announced(x, () => recorder?.begin()));
      validator = observer; // the body may have begun with a new one
      ({ bench } = last());
      if (bench) recorder = new Recorder(bench);
    },
    schedule,
    { ...PROMISES, lockdep: false },
  );
  const [failure] = report.failures;
  const trace = failure?.trace ?? [];
  const lines: CounterexampleLine[] = (bench?.monitor.notes ?? []).map(({ task, text, after, lock }) => ({
    task: task ?? trace[after]?.task ?? "",
    text,
    ...(lock && { lock }),
  }));
  if (failure && failure.kind !== "assertion")
    lines.push({ task: "", text: `${failure.kind}: ${failure.message}` });
  const { violations } = last();
  for (const { invariant, text } of violations) {
    const line = `!! ${invariant}: ${text}`;
    if (lines.every((each) => each.text !== line)) lines.push({ task: "", text: line });
  }
  if (violations.length > 0 || !failure) return { lines, violations };
  const shown = violatedBy(scenario, failure);
  return { lines, violations: Array.from(shown, ([invariant, text]) => ({ invariant, text })) };
}

/** Two tasks of one name are told apart, and the begin of each is known. */
function announced(x: Exploration, onBegin: () => void): Exploration {
  const names = new Map<string, number>();
  return {
    ...x,
    task(name, run) {
      const nth = (names.get(name) ?? 0) + 1;
      names.set(name, nth);
      return x.task(nth === 1 ? name : `${name} (${nth})`, (task) => {
        onBegin();
        return run(task);
      });
    },
  };
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
