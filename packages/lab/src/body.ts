import type { Body } from "@vfiokit/explore";
import { lockdep, type Problem } from "@vfiokit/lockdep";
import type { Bench } from "./bench.js";
import type { Design } from "./design.js";
import type { Invariant, Violation } from "./invariants.js";
import { stage, type Scenario } from "./scenario.js";
import { warmUp } from "./warm-up.js";

/** What one execution came to. */
export interface Observed {
  readonly violations: readonly Violation[];
  /** Undefined: registration refused the driver. */
  readonly bench: Bench | undefined;
}

export interface ScenarioBody {
  readonly body: Body;
  /** Of the execution that ran last. */
  readonly last: () => Observed;
}

/**
 * A scenario as a program to be explored. An execution that violates something fails at its end, with what it violates
 * as the message: a line each.
 * @param only this invariant is looked at, and no other
 */
export function scenarioBody(design: Design, scenario: Scenario, only?: Invariant): ScenarioBody {
  let bench: Bench | undefined;
  let problems: Violation[] = [];
  const violations = (): readonly Violation[] =>
    [...problems, ...(bench?.violations ?? [])].filter(
      ({ invariant }) => only === undefined || invariant === only,
    );
  const body: Body = async (x) => {
    problems = [];
    bench = undefined;
    if (only === "no-cycle") await warmUp(design); // so that the execution shows it on its own
    lockdep.configure({ mode: (problem) => problems.push(violationOf(problem)) });
    bench = await stage(x, design, scenario);
    if (!bench) {
      // Refusing the driver is right at the last step, and wrong before every driver has the op.
      const wrong = scenario.ops !== "partial" || scenario.step !== "enforce";
      if (wrong) problems.push({ invariant: "bisectable", text: "registration refuses the driver" });
    }
    x.finally(async () => {
      await bench?.atEnd();
      const found = violations();
      if (found.length > 0)
        throw new Error(found.map(({ invariant, text }) => `${invariant}: ${text}`).join("\n"));
    });
  };
  return { body, last: () => ({ violations: violations(), bench }) };
}

/** What a report of the validator is a violation of. */
export function violationOf(problem: Problem): Violation {
  const text = describeProblem(problem);
  switch (problem.kind) {
    case "cycle":
    case "recursion":
      return { invariant: "no-cycle", text };
    case "hang":
      return { invariant: "no-deadlock", text };
    default:
      return { invariant: "no-crash", text };
  }
}

/** In one line. */
export function describeProblem(problem: Problem): string {
  if (problem.kind !== "cycle") return problem.kind;
  const [first] = problem.orders;
  return [first!.from, ...problem.orders.map(({ to }) => to)].join(" -> ");
}
