import type { ResetInitiator } from "@vfiokit/core/lab";
import { lockdep, type Problem } from "@vfiokit/lockdep";
import { exploreParts, minimise, replay, type ExploreReport, type FoundFailure } from "@vfiokit/explore";
import { describeProblem, scenarioBody } from "./body.js";
import type { Bounds } from "./bounds.js";
import type { Design } from "./design.js";
import { invariantNames, type Invariant } from "./invariants.js";
import { Lanes } from "./lanes.js";
import { judged, underlying, violatedBy } from "./judge.js";
import { orderLines, Orders } from "./orders.js";
import { explorePart, type LabPart, type LabPartResult } from "./part.js";
import type { Scenario } from "./scenario.js";
import { formatCounterexample, WARM_UP } from "./counterexample.js";
import { warmUp } from "./warm-up.js";

export type { Bounds } from "./bounds.js";

/** What `runLab` runs, and how. */
export interface LabOptions {
  readonly designs: readonly Design[];
  readonly scenarios: readonly Scenario[];
  readonly bounds?: Bounds;
  readonly onProgress?: (progress: LabProgress) => void;
  readonly signal?: AbortSignal;
  /** Runs the parts elsewhere. Default: here, one after the other. */
  readonly elsewhere?: Elsewhere;
}

/** Who explores parts of scenarios in other threads or on other machines. */
export interface Elsewhere {
  /** Parts that are handed out at once. */
  readonly parts: number;
  /** Runs a part: `runPart`, wherever. The report is the same whoever runs which, and when. */
  run(part: LabPart, signal: AbortSignal): Promise<LabPartResult>;
}

/** How far a run has come. */
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
  /** For `replayCounterexample`. A circle of locks that only several executions make together has none. */
  readonly counterexample?: string;
}

/** By design, by invariant. A cell that no scenario says anything about is missing. */
export type Matrix = Readonly<Record<string, Readonly<Partial<Record<Invariant, Cell>>>>>;

/** What `runLab` came to: plain data. */
export interface LabReport {
  readonly matrix: Matrix;
  /** By design, by invariant: what the counterexample shows, in one line. */
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
  const { designs, scenarios } = options;
  const locks: LockOrders[] = [];
  for (const design of designs) {
    const [problem] = await warmUp(design);
    const orders = new Orders();
    orders.add(orderLines(lockdep.orders));
    locks.push({ problem, orders });
  }
  const reports = await exploreAll(options, locks);
  const results = [];
  for (const [i, design] of designs.entries())
    results.push({ design, ...(await judge(design, scenarios, reports[i]!, locks[i]!)) });
  return {
    matrix: Object.fromEntries(results.map(({ design, cells }) => [design.name, cells])),
    findings: Object.fromEntries(results.map(({ design, texts }) => [design.name, texts])),
    scenarios: scenarios.length,
    executions: reports.flat().reduce((sum, { executions }) => sum + executions, 0),
    time: performance.now() - begun,
  };
}

/** What is known of one design's locks. */
interface LockOrders {
  /** The circle that they make before two tasks meet. */
  readonly problem: Problem | undefined;
  /** Of the warm-up and all scenarios: an order that one of them shows counts in the others. */
  readonly orders: Orders;
}

/** By design, by scenario. */
function exploreAll(
  { designs, scenarios, bounds = {}, signal, onProgress, elsewhere }: LabOptions,
  locks: readonly LockOrders[],
): Promise<ExploreReport[][]> {
  const total = designs.length * scenarios.length;
  let [done, executions] = [0, 0];
  const lanes = new Lanes(elsewhere?.parts ?? 1);
  // One listener for all: thousands of scenarios wait for their turn.
  const interrupts = new Set<AbortController>();
  const onAbort = (): void => {
    for (const each of interrupts) each.abort();
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  const interrupted = (): AbortController => {
    const controller = new AbortController();
    if (signal?.aborted) controller.abort();
    interrupts.add(controller);
    return controller;
  };
  const explore = async (
    design: Design,
    scenario: Scenario,
    { orders }: LockOrders,
  ): Promise<ExploreReport> => {
    const interrupt = interrupted();
    const report = await exploreParts(
      async (job, stop) => {
        const result = await lanes.run(job.prefix.length > 0, () => {
          stop.throwIfAborted();
          return elsewhere
            ? elsewhere.run({ design: design.name, scenario: scenario.name, bounds, job }, stop)
            : explorePart(design, scenario, { bounds, job }, stop);
        });
        orders.add(result.orders);
        return result;
      },
      {
        keepGoing: true,
        ...(bounds.executions !== undefined && { maxExecutions: bounds.executions }),
        ...(bounds.preemptions !== undefined && { maxPreemptions: bounds.preemptions }),
        signal: interrupt.signal,
      },
    );
    interrupts.delete(interrupt);
    executions += report.executions;
    onProgress?.({ done: ++done, total, executions, design: design.name });
    return report;
  };
  const all = designs.map((design, i) =>
    Promise.all(scenarios.map((scenario) => explore(design, scenario, locks[i]!))),
  );
  return Promise.all(all)
    .catch((error: unknown) => {
      onAbort(); // one has failed: the others need not go on
      throw error;
    })
    .finally(() => signal?.removeEventListener("abort", onAbort));
}

async function judge(
  design: Design,
  scenarios: readonly Scenario[],
  reports: readonly ExploreReport[],
  { problem, orders }: LockOrders,
): Promise<{ cells: Partial<Record<Invariant, Cell>>; texts: Partial<Record<Invariant, string>> }> {
  const tallies = new Map(invariantNames.map((name) => [name, new Tally()]));
  for (const [i, scenario] of scenarios.entries()) {
    const { executions, exhausted, failures } = reports[i]!;
    for (const name of judged(scenario)) tallies.get(name)!.add(executions, exhausted);
    for (const failure of failures) {
      for (const [name, text] of violatedBy(scenario, failure))
        tallies.get(name)!.candidates.push({ scenario, failure, text });
    }
  }

  const circle = orders.circle();
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
        counterexample: formatCounterexample(design, undefined, WARM_UP),
      };
      texts[name] = describeProblem(problem);
    } else if (best) {
      await confirm(design, best);
      const { schedule } = await shorten(design, name, best);
      cells[name] = {
        verdict: "fail",
        executions,
        exhausted,
        counterexample: formatCounterexample(design, best.scenario, schedule),
      };
      texts[name] = best.text;
    } else if (name === "no-cycle" && circle) {
      // Made by several executions, so none of them is a counterexample.
      cells[name] = { verdict: "fail", executions, exhausted };
      texts[name] = describeProblem(circle);
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

/** Whoever found it may be anybody. @throws Error if it is not so */
async function confirm(design: Design, { scenario, failure }: Candidate): Promise<void> {
  const { kind, message, schedule } = failure;
  const { failures } = await replay(scenarioBody(design, scenario).body, schedule, {
    keepGoing: true,
    lockdep: false,
  });
  if (failures.some((again) => again.kind === kind && again.message === message)) return;
  throw new Error(
    `${formatCounterexample(design, scenario, schedule)} does not come to what was said of it: ${message}`,
  );
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
