import type { ResetInitiator } from "@vfiokit/core";
import { explore, minimise, type FoundFailure } from "@vfiokit/explore";
import { describeProblem, scenarioBody } from "./body.js";
import type { Design } from "./design.js";
import { invariantNames, type Invariant } from "./invariants.js";
import { judged, underlying, violatedBy } from "./judge.js";
import type { Scenario } from "./scenario.js";
import { formatWitness, WARM_UP } from "./witness.js";
import { warmUp } from "./warm-up.js";

export interface Bounds {
  /** Executions of one scenario under one design. Default: no limit. */
  readonly executions?: number;
  /** Switches away from a task that could go on, in one execution. Default: no limit. */
  readonly preemptions?: number;
}

export interface LabOptions {
  readonly designs: readonly Design[];
  readonly scenarios: readonly Scenario[];
  readonly bounds?: Bounds;
  readonly onProgress?: (progress: LabProgress) => void;
  readonly signal?: AbortSignal;
}

export interface LabProgress {
  /** Scenarios under one design that are done, and all of them. */
  readonly done: number;
  readonly total: number;
  readonly executions: number;
  readonly design: string;
}

/** What was found out about one invariant of one design. */
export interface Cell {
  readonly verdict: "pass" | "fail";
  readonly executions: number;
  /** Every interleaving that matters was run; else a bound or the end of the patience came first. */
  readonly exhausted: boolean;
  /** For `replayWitness`. */
  readonly witness?: string;
}

/** By design, by invariant. A cell that no scenario says anything about is missing. */
export type Matrix = Readonly<Record<string, Readonly<Partial<Record<Invariant, Cell>>>>>;

export interface LabReport {
  readonly matrix: Matrix;
  /** By design, by invariant: what the witness shows, in one line. */
  readonly findings: Readonly<Record<string, Readonly<Partial<Record<Invariant, string>>>>>;
  readonly scenarios: number;
  readonly executions: number;
  /** Milliseconds. */
  readonly time: number;
}

/** An execution that violates an invariant. */
interface Candidate {
  readonly scenario: Scenario;
  readonly failure: FoundFailure;
  readonly text: string;
}

/** Runs the scenarios under the designs, each in every order that matters, and judges them. */
export async function runLab(options: LabOptions): Promise<LabReport> {
  const begun = performance.now();
  const total = options.designs.length * options.scenarios.length;
  let [done, executions] = [0, 0];
  const results = [];
  for (const design of options.designs) {
    const result = await runDesign(design, options, (more) => {
      executions += more;
      options.onProgress?.({ done: ++done, total, executions, design: design.name });
    });
    results.push({ design, ...result });
  }
  return {
    matrix: Object.fromEntries(results.map(({ design, cells }) => [design.name, cells])),
    findings: Object.fromEntries(results.map(({ design, texts }) => [design.name, texts])),
    scenarios: options.scenarios.length,
    executions,
    time: performance.now() - begun,
  };
}

async function runDesign(
  design: Design,
  { scenarios, bounds = {}, signal }: LabOptions,
  onScenario: (executions: number) => void,
): Promise<{ cells: Partial<Record<Invariant, Cell>>; texts: Partial<Record<Invariant, string>> }> {
  const tallies = new Map(invariantNames.map((name) => [name, new Tally()]));
  // The graph of locks is kept from here on: an order that one scenario shows counts in the others.
  const [problem] = await warmUp(design);
  for (const scenario of scenarios) {
    if (signal?.aborted) {
      for (const name of judged(scenario)) tallies.get(name)!.cut();
      continue;
    }
    const report = await explore(scenarioBody(design, scenario).body, {
      keepGoing: true,
      lockdep: false,
      ...(bounds.executions !== undefined && { maxExecutions: bounds.executions }),
      ...(bounds.preemptions !== undefined && { maxPreemptions: bounds.preemptions }),
      ...(signal && { signal }),
    });
    for (const name of judged(scenario)) tallies.get(name)!.add(report.executions, report.exhausted);
    for (const failure of report.failures) {
      for (const [name, text] of violatedBy(scenario, failure))
        tallies.get(name)!.candidates.push({ scenario, failure, text });
    }
    onScenario(report.executions);
  }

  const cells: Partial<Record<Invariant, Cell>> = {};
  const texts: Partial<Record<Invariant, string>> = {};
  for (const [name, tally] of tallies) {
    if (tally.scenarios === 0 && tally.candidates.length === 0) continue;
    const { executions, exhausted } = tally;
    const best = tally.best(name);
    if (name === "no-cycle" && problem) {
      cells[name] = {
        verdict: "fail",
        executions,
        exhausted,
        witness: formatWitness(design, undefined, WARM_UP),
      };
      texts[name] = describeProblem(problem);
    } else if (best) {
      const { schedule } = await shorten(design, name, best);
      cells[name] = {
        verdict: "fail",
        executions,
        exhausted,
        witness: formatWitness(design, best.scenario, schedule),
      };
      texts[name] = best.text;
    } else cells[name] = { verdict: "pass", executions, exhausted };
  }
  return { cells, texts };
}

/** What the scenarios say about one invariant. */
class Tally {
  scenarios = 0;
  executions = 0;
  exhausted = true;
  readonly candidates: Candidate[] = [];

  add(executions: number, exhausted: boolean): void {
    this.scenarios++;
    this.executions += executions;
    this.exhausted &&= exhausted;
  }

  cut(): void {
    this.add(0, false);
  }

  /** The one that is read fastest. */
  best(invariant: Invariant): Candidate | undefined {
    return this.candidates.toSorted((a, b) => effort(invariant, a) - effort(invariant, b))[0];
  }
}

/** The resets that everybody knows: where it is about all of them, the others say more. */
const familiar: readonly ResetInitiator[] = ["ioctl", "hot-reset"];

/** Few tasks first, then resets by how well they are known, then few events. */
function effort(invariant: Invariant, { scenario, failure }: Candidate): number {
  const { initiator, beside, second } = scenario;
  const tasks = beside.length + (second ? 1 : 0);
  const known = familiar.includes(initiator) === (invariant !== "all-paths");
  const fails = beside.some((operation) => operation.fails);
  return tasks * 10_000 + (known ? 0 : 1000) + (fails ? 500 : 0) + failure.trace.length;
}

async function shorten(
  design: Design,
  name: Invariant,
  { scenario, failure }: Candidate,
): Promise<FoundFailure> {
  if (failure.kind !== "assertion")
    return minimise(scenarioBody(design, scenario).body, failure, { lockdep: false });
  const [only] = underlying(name).filter((each) => failure.message.includes(`${each}: `));
  if (only === undefined || only === "no-cycle") return failure;
  return minimise(scenarioBody(design, scenario, only).body, failure, { lockdep: false });
}
