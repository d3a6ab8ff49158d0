import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explore } from "@vfiokit/explore";
import { body, FOUND, program } from "./support/random-programs.js";

const RUNS = Number(process.env["REDUCTION_RUNS"] ?? 150);
const SEED = process.env["REDUCTION_SEED"];

describe("the reduction", () => {
  it("reaches every outcome that trying everything reaches", { timeout: 3_600_000 }, async () => {
    let [compared, all, reduced] = [0, 0, 0];
    await fc.assert(
      fc.asyncProperty(program, async (tasks) => {
        const results = [];
        for (const strategy of ["all", "exhaustive"] as const) {
          const outcomes = new Set<string>();
          const report = await explore(body(tasks, outcomes), {
            strategy,
            keepGoing: true,
            lockdep: false,
            plainFields: "none",
            awaits: "fused", // the oracle's programs have awaits
            maxExecutions: 600,
          });
          // What is too large to be tried without reduction is not compared.
          if (strategy === "all" && !report.exhausted) return;
          expect(report.exhausted).toBe(true);
          const failures = report.failures.map(({ kind, message }) => `${kind} ${message}`);
          results.push([...outcomes, ...failures].toSorted());
          if (strategy === "all") all += report.executions;
          else reduced += report.executions;
        }
        compared++;
        expect(results[1]).toEqual(results[0]);
      }),
      { numRuns: RUNS, examples: FOUND, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
    );
    console.log(
      `${compared} of ${RUNS} random programs: ${all} executions without reduction, ${reduced} with it`,
    );
    expect(compared).toBeGreaterThan(RUNS / 3);
  });
});
