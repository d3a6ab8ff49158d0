import type { Body } from "@vfiokit/explore";
import { lockdep, type Problem } from "@vfiokit/lockdep";
import type { Bench } from "./bench.js";
import type { Design } from "./design.js";
import type { Invariant, Violation } from "./invariants.js";
import { orderLines, Orders } from "./orders.js";
import { stage, type Scenario } from "./scenario.js";

/**
 * What the lab takes for granted of its bodies: a device is used through the locks and variables that the explorer sees,
 * and between them a task waits for nothing but its own functions.
 */
export const PROMISES = { plainFields: "none", awaits: "fused" } as const;

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
  /** In all executions so far, which locks were taken under which. To be asked while lockdep knows. */
  readonly orders: () => readonly string[];
}

/**
 * A scenario as a program to be explored. An execution that violates something fails at its end, with what it violates
 * as the message: a line each.
 * @param only this invariant is looked at, and no other
 */
export function scenarioBody(design: Design, scenario: Scenario, only?: Invariant): ScenarioBody {
  let bench: Bench | undefined;
  let problems: Violation[] = [];
  let reported = false;
  const orders = new Orders();
  const violations = (): readonly Violation[] =>
    [...problems, ...(bench?.monitor.violations ?? [])].filter(
      ({ invariant }) => only === undefined || invariant === only,
    );
  const body: Body = async (x) => {
    problems = [];
    bench = undefined;
    // What an execution comes to depends on its schedule alone. Each problem is reported once, so the validator forgets
    // what it reported; a circle can have been begun by other executions: the orders of all are looked at together.
    if (reported) {
      orders.add(orderLines(lockdep.orders));
      lockdep.reset();
    }
    reported = false;
    lockdep.configure({
      mode: (problem) => {
        if (problem.kind === "recursion")
          orders.add([`${problem.acquiring.class} EN ${problem.acquiring.class}`]);
        else if (problem.kind !== "cycle") {
          problems.push(violationOf(problem));
          reported = true;
        }
      },
    });
    bench = await stage(x, design, scenario);
    if (!bench) {
      // Refusing the driver is right at the last step, and wrong before every driver has the op.
      const wrong = scenario.ops !== "partial" || scenario.step !== "enforce";
      if (wrong) problems.push({ invariant: "bisectable", text: "registration refuses the driver" });
    }
    x.finally(async () => {
      await bench?.monitor.atEnd(bench.task);
      const found = violations();
      if (found.length > 0)
        throw new Error(found.map(({ invariant, text }) => `${invariant}: ${text}`).join("\n"));
    });
  };
  return {
    body,
    last: () => ({ violations: violations(), bench }),
    orders: () => {
      orders.add(orderLines(lockdep.orders));
      return orders.lines;
    },
  };
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
