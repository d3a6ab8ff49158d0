import { describe, expect, it } from "vitest";
import { campaign, formatFinding, type Finding } from "./campaign.js";
import { CASES } from "./cases.js";
import { enumerate, enumerateSchedules, type Outcomes } from "./enumerator.js";
import { flatten, sketch } from "./generator.js";
import { runPlain } from "./plain.js";
import { formatProgram } from "./program.js";
import { compare } from "./runner.js";

/** The same each time: what is new is found by `npm run fuzz:explore`, and not by whoever changes something else. */
const SEED = Number(process.env["ORACLE_SEED"] ?? 1);
const PROGRAMS = Number(process.env["ORACLE_PROGRAMS"] ?? 2000);

describe("the enumerator", () => {
  const all = ({ ends, failures }: Outcomes): string[] => [...ends, ...failures].toSorted();
  const programs = Array.from({ length: 100 }, (_, i) => flatten(sketch(SEED + i)));

  it("reaches, with a memory of states, what it reaches schedule by schedule", () => {
    let compared = 0;
    for (const program of programs) {
      const bySchedule = enumerateSchedules(program, 300);
      if (!bySchedule) continue;
      compared++;
      expect(all(enumerate(program)!), formatProgram(program)).toEqual(all(bySchedule));
    }
    expect(compared).toBeGreaterThan(programs.length / 3);
  });

  it("has whatever plain Node shows", async () => {
    for (const [i, whole] of [...CASES.map(([, each]) => each), ...programs].entries()) {
      // Nobody tells there where a piece ends.
      const { never: _, ...program } = whole;
      // The time limits of plain Node are real ones.
      if (program.tasks.some(({ code }) => code.some((instr) => "limit" in instr))) continue;
      const { ends, failures } = enumerate(program)!;
      const isStuck = [...failures].some((failure) => failure.startsWith("stuck"));
      for (let run = 0; run < 10; run++) {
        const real = await runPlain(program, SEED + i * 10 + run);
        const unknown =
          real.end === undefined
            ? real.failures.filter((each) => (each === "stuck" ? !isStuck : !failures.has(each)))
            : [real.end].filter((end) => !ends.has(end));
        expect(unknown, formatProgram(program)).toEqual([]);
      }
    }
  });

  it("tells a program that hangs from one that does not", () => {
    const [, trylock] = CASES.find(([symptom]) => symptom.startsWith("a deadlock elsewhere"))!;
    expect(all(enumerate(trylock)!)).toEqual([
      " | a: b: | ",
      " | a: b:busy | ",
      " | a:busy b: | ",
      "stuck: a waits for r0; b waits for m0",
    ]);
  });
});

describe("the explorer", () => {
  describe.each(["exhaustive", "all"] as const)("strategy %s", (strategy) => {
    const few = CASES.filter(([, { tasks }]) => strategy === "exhaustive" || tasks.length < 4);
    it.each(few)("%s", async (_symptom, program) => {
      const result = await compare(program, enumerate(program)!, { strategy, maxExecutions: 20_000 });
      expect(result).toMatchObject({ compared: true, differences: [] });
    });
  });

  it(
    `reaches what the enumerator reaches, and nothing else, in ${PROGRAMS} random programs`,
    { timeout: 600_000 },
    async () => {
      console.log(`ORACLE_SEED=${SEED}`);
      const begun = process.cpuUsage();
      const findings: Finding[] = [];
      const counts = await campaign({
        seed: SEED,
        programs: PROGRAMS,
        maxExecutions: 60,
        onFinding: (finding) => findings.push(finding),
      });
      const { user, system } = process.cpuUsage(begun);
      console.log(
        `${counts.compared} programs, ${counts.skipped} more were too large: ${counts.outcomes} outcomes, ` +
          `${counts.executions} executions, ${((user + system) / 1e6).toFixed(0)} s of CPU time`,
      );
      expect(findings.slice(0, 5).map(formatFinding).join("\n\n")).toBe("");
    },
  );
});
