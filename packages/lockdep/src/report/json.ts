import type { Problem, Schedule } from "../problem.js";
import { cheapestToBreak } from "./cheapest.js";
import { scheduleOf } from "./schedule.js";
import { why } from "./why.js";

/** A problem with all that reports derive from it, for programs: it survives JSON.stringify. */
export interface ProblemJson {
  readonly why: string;
  readonly schedule?: Schedule | "none";
  readonly cheapestToBreak?: { readonly from: string; readonly to: string; readonly advice: string };
  readonly problem: Problem;
}

/**
 * The problem as plain data.
 * @param schedule one that was really found, or "none" if none hangs; default: one made of the cycle's orders.
 */
export function toJson(problem: Problem, schedule?: Schedule | "none"): ProblemJson {
  if (problem.kind !== "cycle") return { why: why(problem), ...(schedule ? { schedule } : {}), problem };
  const { order, advice } = cheapestToBreak(problem);
  return {
    why: why(problem),
    schedule: schedule ?? scheduleOf(problem),
    cheapestToBreak: { from: order.from, to: order.to, advice },
    problem,
  };
}
