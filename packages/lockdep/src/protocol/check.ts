import { LockError } from "../errors.js";
import { observe, observer } from "../observer.js";
import type { Problem, Schedule } from "../problem.js";
import { Task } from "../task.js";
import { DEFAULT_LIMITS, Validator } from "../validator.js";
import { takes, type Scenario, type Step, type TaskSpec, type Verdict } from "./program.js";
import { makeLocks, runStep, type ProtocolLock } from "./run-step.js";
import { searchHang, type Runner } from "./search.js";

/** A problem of a scenario, with a schedule that runs into it. */
export interface Finding {
  readonly problem: Problem;
  /** An interleaving that hangs, found by running the tasks under all of them. */
  readonly schedule?: Schedule;
  /** The tasks of that interleaving: those that the problem is about, copies of them, and writers in between. */
  readonly tasks?: readonly TaskSpec[];
  /** Every interleaving was tried, and none hangs: something keeps the tasks apart. */
  readonly harmless: boolean;
}

/** The verdict of a scenario, and why. */
export interface ScenarioResult {
  readonly scenario: Scenario;
  readonly verdict: Verdict;
  /** The verdict is the one that the file expects, or "clean" if it expects none. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

/**
 * Runs every task of the scenario once, one after the other, under a validator of its own: as with Linux's lockdep,
 * orders that were each seen once are enough.
 */
export function checkScenario(scenario: Scenario): ScenarioResult {
  const problems = new Run(scenario).problems();
  const verdict = (problems[0]?.kind ?? "clean") as Verdict;
  return {
    scenario,
    verdict,
    ok: verdict === (scenario.expect ?? "clean"),
    findings: problems.map((problem) => finding(problem, scenario)),
  };
}

class Run {
  readonly #problems: Problem[] = [];
  readonly #locks: ReadonlyMap<string, ProtocolLock>;
  readonly #validator = new Validator({
    limits: DEFAULT_LIMITS,
    waitTimeout: undefined,
    sink: (problem) => void this.#problems.push(problem),
    site: () => (this.#step ? [this.#step.at] : undefined),
  });
  #step: Step | undefined;

  constructor(private readonly scenario: Scenario) {
    this.#locks = makeLocks(scenario);
  }

  problems(): readonly Problem[] {
    // No await below: nobody else's locks are watched by this validator, nor these by theirs.
    const before = observer;
    observe(this.#validator);
    try {
      this.scenario.tasks.every((spec) => this.#task(spec));
    } finally {
      observe(before);
    }
    return this.#problems;
  }

  /** False if what is left of the scenario has no meaning. */
  #task(spec: TaskSpec): boolean {
    const task = new Task(spec.name);
    try {
      for (const step of spec.steps) {
        this.#step = step;
        const lock = this.#locks.get(step.lock)!;
        // Nobody else runs: what would wait has been reported, and is not waited for.
        const goesOn = runStep(task, step, lock, (expected) =>
          this.#validator.failedAssert(task, lock, expected),
        );
        if (goesOn === false) break;
        // An order that contradicts others is found before anybody waits: the rest can still be checked.
        if (this.#problems.some((problem) => problem.kind !== "cycle")) return false;
      }
      task.end();
      return task.holds.length === 0;
    } catch (error) {
      if (error instanceof LockError) return false; // the validator has said why
      throw error;
    }
  }
}

/**
 * Looks for an interleaving that really hangs: with the tasks as they are, then with a copy of a task for each order
 * that it brings in, then with writers in between.
 */
function finding(problem: Problem, scenario: Scenario): Finding {
  const names = involved(problem);
  if (!names) return { problem, harmless: false };
  const all = copies(scenario, names);
  let harmless = problem.kind === "cycle";
  const extra = writers(scenario, new Set(names));
  const attempts = [
    copies(scenario, new Set(names)),
    all,
    ...extra.map((writer) => [...all, writer]),
    [...all, ...extra],
  ];
  for (const runners of attempts) {
    const result = searchHang(runners, scenario.locks);
    if (result === "too many states") harmless = false;
    else if (result !== "none") return { problem, schedule: result, tasks: runners, harmless: false };
  }
  return { problem, harmless };
}

/** The task of every order of a cycle; a task that recurs, with another one like it. */
function involved(problem: Problem): string[] | undefined {
  if (problem.kind === "cycle") return problem.orders.map((order) => order.task.name);
  if (problem.kind === "recursion") return [problem.task.name, problem.task.name];
  return undefined;
}

function copies(scenario: Scenario, names: Iterable<string>): Runner[] {
  const counts = new Map<string, number>();
  return [...names].map((name) => {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    const { steps } = scenario.tasks.find((task) => task.name === name)!;
    return { name: count === 1 ? name : `${name} (copy ${count})`, steps };
  });
}

/** A reader waits for a reader only behind a writer that waits: one for every rwsem that these tasks read. */
function writers(scenario: Scenario, names: ReadonlySet<string>): Runner[] {
  const read = new Set<string>();
  for (const task of scenario.tasks)
    if (names.has(task.name))
      for (const step of task.steps) if (takes(step, scenario.locks) === "read") read.add(step.lock);
  const at = { fn: "", file: "", line: 0, column: 0 };
  return [...read].map((lock) => ({
    name: `a writer of ${lock}`,
    steps: [
      { op: "write", lock, subclass: 0, at },
      { op: "unlock", lock, subclass: 0, at },
    ],
  }));
}
