import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Mutex } from "@vfiokit/lockdep";
import {
  explore,
  exploreParts,
  exploreSubtree,
  NotDeterministic,
  replay,
  type Body,
  type ExploreReport,
  type PartsOptions,
} from "@vfiokit/explore";
import { CLASSICS } from "./classics/programs.js";
import { programBody } from "./classics/world.js";
import { body, FOUND, program, type Op } from "./support/random-programs.js";
import { scrambled } from "./support/scrambled.js";

const quiet = { lockdep: false, plainFields: "none", awaits: "fused" } as const;

/** All that a report says, but for the time. */
const told = ({ time: _, ...report }: ExploreReport): Omit<ExploreReport, "time"> => report;

async function inParts(
  explored: Body,
  options: PartsOptions,
  seed = 1,
): Promise<{ report: ExploreReport; jobs: number }> {
  const { run, jobs } = scrambled(explored, { ...quiet, ...options }, seed);
  return { report: await exploreParts(run, { ...quiet, ...options }), jobs: jobs.length };
}

/** What does not depend on how much of the program was known when. */
const verdict = ({ verdict: found, exhausted, failures }: ExploreReport) => ({
  found,
  exhausted,
  failures: failures.map(({ kind, message }) => `${kind} ${message}`).toSorted(),
});

const RUNS = Number(process.env["PARTS_RUNS"] ?? 100);

const SEED = process.env["PARTS_SEED"];

/** The first job finds out that a queue is to be modelled, which the others then have to know. */
const QUEUED: [Op[][]] = [
  [
    [
      { op: "set", cell: 0 },
      { op: "mutex", lock: 1, inside: [{ op: "mutex", lock: 0, inside: [] }] },
    ],
    [{ op: "abort", task: 1 }],
    [{ op: "mutex-again", lock: 1, inside: [{ op: "mutex", lock: 0, inside: [{ op: "set", cell: 0 }] }] }],
  ],
];

const philosophers =
  (count: number, leftHanded = 0): Body =>
  (x) => {
    const forks = Array.from({ length: count }, (_, i) => new Mutex(`fork ${i}`));
    for (let i = 0; i < count; i++) {
      const pair = [forks[i]!, forks[(i + 1) % count]!];
      const [first, second] = i < leftHanded ? pair.toReversed() : pair;
      x.task(`philosopher ${i}`, async (task) => {
        using _1 = await first!.acquire(task);
        using _2 = await second!.acquire(task);
      });
    }
  };

describe("an exploration in parts", () => {
  it.each([2, 7, 15])("is the same as in one piece, with jobs of %i executions", async (jobExecutions) => {
    for (const [hands, verdict] of [
      [1, "proved"],
      [0, "failed"],
    ] as const) {
      const dinner = philosophers(4, hands);
      const whole = await explore(dinner, { ...quiet, keepGoing: true });
      expect(whole).toMatchObject({ verdict, exhausted: true });
      for (const seed of [1, 2, 3]) {
        const { report, jobs } = await inParts(dinner, { keepGoing: true, jobExecutions }, seed);
        expect(told(report)).toEqual(told(whole));
        expect(jobs).toBeGreaterThan(1);
      }
    }
  });

  it("ends with the first failure in the order of the search, whichever is found first", async () => {
    const dinner = philosophers(5);
    const whole = await explore(dinner, quiet);
    expect(whole.failures).toHaveLength(1);
    for (const seed of [1, 2, 3, 4, 5]) {
      const { report } = await inParts(dinner, { jobExecutions: 2 }, seed);
      expect(told(report)).toEqual(told(whole));
    }
  });

  it("gives each classic bug the same counterexample, and each mended one the same proof", async () => {
    for (const { name, program: broken, mended } of CLASSICS) {
      for (const explored of [programBody(broken), programBody(mended)]) {
        const whole = await explore(explored, quiet);
        const { report } = await inParts(explored, { jobExecutions: 20 });
        expect({ name, ...verdict(report) }).toEqual({ name, ...verdict(whole) });
        expect(report.failures).toEqual(whole.failures);
      }
    }
  });

  it("is the same for random programs, whoever is first", { timeout: 3_600_000 }, async () => {
    let [compared, identical, jobs] = [0, 0, 0];
    await fc.assert(
      fc.asyncProperty(program, fc.constantFrom(1, 2, 5), fc.nat(), async (tasks, jobExecutions, seed) => {
        const outcomes = new Set<string>();
        const whole = await explore(body(tasks, outcomes), {
          ...quiet,
          keepGoing: true,
          maxExecutions: 300,
        });
        if (!whole.exhausted) return;
        const reports = [];
        for (const order of [seed, seed + 1]) {
          const seen = new Set<string>();
          const parts = await inParts(body(tasks, seen), { keepGoing: true, jobExecutions }, order);
          expect([...seen].toSorted()).toEqual([...outcomes].toSorted());
          reports.push(parts.report);
          jobs += parts.jobs;
        }
        const [one, other] = reports;
        expect(told(other!)).toEqual(told(one!));
        expect(verdict(one!)).toEqual(verdict(whole));
        compared++;
        if (one!.executions === whole.executions) identical++;
      }),
      {
        numRuns: RUNS,
        examples: [QUEUED, ...FOUND].map(([tasks], i) => [tasks, [2, 1, 5][i % 3]!, i]),
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
      },
    );
    console.log(
      `${compared} random programs in ${jobs} jobs; ${identical} with as many executions as in one piece`,
    );
    expect(compared).toBeGreaterThan(RUNS / 2);
    expect(jobs).toBeGreaterThan(4 * compared);
  });

  it("tries every order, with a bound on preemptions or without reduction", async () => {
    const dinner = philosophers(3, 1);
    for (const options of [{ maxPreemptions: 1 }, { strategy: "all" }] as const) {
      const whole = await explore(dinner, { ...quiet, ...options });
      const { report, jobs } = await inParts(dinner, { ...options, jobExecutions: 10 });
      expect(told(report)).toEqual(told(whole));
      expect(jobs).toBeGreaterThan(5);
    }
  });

  it("keeps a bound on executions, in one job", async () => {
    for (const explored of [philosophers(4, 1), ...CLASSICS.map(({ mended }) => programBody(mended))]) {
      for (const maxExecutions of [1, 2, 3, 5, 10]) {
        const whole = await explore(explored, { ...quiet, maxExecutions });
        const { report, jobs } = await inParts(explored, { maxExecutions, jobExecutions: 2 });
        expect(told(report)).toEqual(told(whole));
        expect(jobs).toBe(1);
      }
    }
  });

  it("begins anew when parts know different things about one event", async () => {
    // What the last event of a task touches depends on who came before: only elsewhere is it seen to touch b.
    const explored: Body = (x) => {
      const [a, b] = [x.shared("a", 0), x.shared("b", 0)];
      for (const name of ["one", "two", "three"])
        x.task(name, async () => {
          const before = await a.get();
          await a.set(before + 1);
          if (before === 2) b.current++;
        });
      x.finally(() => expect(b.current).toBeLessThan(2));
    };
    const whole = await explore(explored, { ...quiet, keepGoing: true });
    const { report } = await inParts(explored, { keepGoing: true, jobExecutions: 1 });
    expect(verdict(report)).toEqual(verdict(whole));
    expect(report.executions).toBeGreaterThan(whole.executions / 2);
  });

  it("fails as the job fails", async () => {
    const run = (): Promise<never> => Promise.reject(new Error("no worker is left"));
    await expect(exploreParts(run)).rejects.toThrow("no worker is left");
    const foreign = exploreSubtree(
      philosophers(2),
      {
        prefix: ["7"],
        sleep: {},
        knowledge: { locks: {}, aborted: [], identified: false, gaps: false, footprints: {} },
        executions: 5,
      },
      quiet,
    );
    await expect(foreign).rejects.toThrow(NotDeterministic);
  });

  it("ends when it is told to, with what was found until then", async () => {
    const interrupt = new AbortController();
    const dinner = philosophers(4);
    const { run, jobs } = scrambled(dinner, { ...quiet, keepGoing: true }, 1);
    const report = await exploreParts(run, {
      keepGoing: true,
      jobExecutions: 2,
      signal: interrupt.signal,
      onProgress: () => jobs.length > 4 && interrupt.abort(),
    });
    const whole = await explore(dinner, { ...quiet, keepGoing: true });
    expect(report.exhausted).toBe(false);
    expect(report.executions).toBeLessThan(whole.executions);
    // Nothing is left behind that would keep another exploration from beginning.
    for (const { schedule, message } of whole.failures)
      expect((await replay(dinner, schedule, quiet)).failures[0]?.message).toBe(message);
  });
});
