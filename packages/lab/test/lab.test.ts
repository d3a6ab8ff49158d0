import { readFileSync } from "node:fs";
import { explore } from "@vfiokit/explore";
import { lockdep } from "@vfiokit/lockdep";
import { afterEach, describe, expect, it } from "vitest";
import {
  catalogue,
  choose,
  designs,
  invariantNames,
  parseCounterexample,
  replayCounterexample,
  runLab,
  type Invariant,
} from "@vfiokit/lab";
import { initiators } from "@vfiokit/core/lab";
import { scenarioBody } from "../src/body.js";
import { violatedBy } from "../src/judge.js";
import { operations } from "../src/operations.js";

afterEach(() => lockdep.reset());

const design = (name: string) => designs.find((each) => each.name === name)!;

/** What follows from each design, and shows in the quick subset already. */
const known: Readonly<Record<string, readonly Invariant[]>> = {
  locked: ["no-deadlock", "no-cycle", "no-spurious-reset", "all-paths", "no-resurrection"],
  deferred: [
    "no-deadlock",
    "no-cycle",
    "reset-complete",
    "no-spurious-reset",
    "all-paths",
    "no-resurrection",
  ],
  callback: [
    "no-deadlock",
    "no-cycle",
    "no-spurious-reset",
    "all-paths",
    "no-crash",
    "bisectable",
    "no-resurrection",
  ],
  release: ["no-deadlock", "no-cycle", "no-spurious-reset", "all-paths", "no-resurrection"],
  generation: [],
};

/** Found by the whole catalogue only. */
const foundElsewhere: Record<string, Invariant[]> = {
  callback: ["no-lost-update"],
  release: ["no-lost-update"],
};

const page = readFileSync(new URL("../../../docs/lab.md", import.meta.url), "utf8");

/** The cells of docs/lab.md, which are of the whole catalogue. */
function documentedFailures(name: string): string[] {
  return invariantNames.filter((invariant) => {
    const row = page.split("\n").find((line) => line.startsWith(`| \`${invariant}\``));
    return row?.split("|")[2 + designs.findIndex((each) => each.name === name)]?.includes("FAIL");
  });
}

describe("the catalogue", () => {
  it("has every operation beside every initiator's reset, which succeeds or fails", () => {
    for (const initiator of Object.keys(initiators)) {
      for (const succeeds of [true, false]) {
        const beside = catalogue
          .filter(
            (each) => each.initiator === initiator && each.succeeds === succeeds && each.beside.length === 1,
          )
          .map((each) => each.beside[0]!.name);
        // Who disconnects from a device that is not in ERROR does not reset it.
        if (initiator === "disconnect") expect(beside).toContain("RUNNING-PRE_COPY-fails");
        else expect(new Set(beside)).toEqual(new Set(operations.keys()));
      }
    }
  });

  it("has every arc of the uAPI", () => {
    expect([...operations.values()].filter(({ to, fails }) => to !== undefined && !fails)).toHaveLength(17);
  });

  it("has one scenario a name, and finds it by that", () => {
    expect(new Set(catalogue.map(({ name }) => name)).size).toBe(catalogue.length);
    for (const scenario of catalogue) expect(choose(scenario.name)).toContain(scenario);
    expect(choose("ioctl/fails/read").length).toBeGreaterThan(0);
    expect(choose("nothing")).toEqual([]);
  });
});

describe("the counterexamples of docs/lab.md", () => {
  const rows = [...page.matchAll(/^\| `([\w-]+)` +\| `([\w-]+)` +\| `([^`]+@[^`]*)`/gm)].map(
    ([, name, invariant, counterexample]) => ({ name, invariant, counterexample: counterexample! }),
  );

  it("are there for every failure", () => {
    for (const { name } of designs)
      expect(rows.filter((row) => row.name === name).map(({ invariant }) => invariant)).toEqual(
        documentedFailures(name),
      );
  });

  it.each(rows.filter(({ invariant }) => ["no-lost-update", "no-resurrection"].includes(invariant!)))(
    "$counterexample",
    async ({ invariant, counterexample }) => {
      const { violations } = await replayCounterexample(counterexample);
      expect(violations.map((violation) => violation.invariant)).toContain(invariant);
    },
  );
});

describe("the verdicts of the quick subset", () => {
  it.each(designs.map(({ name }) => name))(
    "%s",
    async (name) => {
      const { matrix } = await runLab({ designs: [design(name)], scenarios: choose("quick") });
      const cells = matrix[name]!;
      const failed = invariantNames.filter((invariant) => cells[invariant]!.verdict === "fail");
      expect(failed).toEqual(known[name]);
      expect(documentedFailures(name)).toEqual(
        invariantNames.filter((each) => failed.includes(each) || foundElsewhere[name]?.includes(each)),
      );
      for (const invariant of invariantNames) expect(cells[invariant]).toMatchObject({ exhausted: true });
      for (const invariant of failed) {
        const { violations, lines } = await replayCounterexample(cells[invariant]!.counterexample!);
        const shown = violations.map((violation) => violation.invariant);
        const meant: readonly string[] =
          invariant === "all-paths" ? ["reset-complete", "no-spurious-reset"] : [invariant];
        const { scenario } = parseCounterexample(cells[invariant]!.counterexample!);
        // A deadlock ends the execution: it stands in the last line. A step of the series fails in any way.
        if (invariant === "no-deadlock") expect(lines.at(-1)!.text).toMatch(/^deadlock: .* waits for /);
        else if (invariant !== "bisectable" || scenario?.step === undefined)
          expect(shown.some((one) => meant.includes(one))).toBe(true);
      }
    },
    120_000,
  );
});

describe("the reduction", () => {
  const small = [
    "ioctl/succeeds/one/STOP_COPY-STOP",
    "ioctl/fails/one/read",
    "slot-reset/succeeds/one/write",
  ];

  it.each(["generation", "locked", "release"])(
    "loses no violation of %s that trying every order finds",
    async (name) => {
      for (const pattern of small) {
        const [scenario] = choose(pattern);
        const found = [];
        for (const strategy of ["exhaustive", "all"] as const) {
          const report = await explore(scenarioBody(design(name), scenario!).body, {
            plainFields: "none",
            awaits: "fused",
            strategy,
            keepGoing: true,
            lockdep: false,
          });
          expect(report.exhausted).toBe(true);
          found.push(
            new Set(report.failures.flatMap((failure) => [...violatedBy(scenario!, failure).keys()])),
          );
        }
        expect(found[0]).toEqual(found[1]);
      }
    },
    120_000,
  );
});

describe("bounds", () => {
  it("leave what was not run out of the proof", async () => {
    const { matrix } = await runLab({
      designs: [design("generation")],
      scenarios: choose("ioctl/succeeds/one/STOP_COPY-STOP"),
      bounds: { executions: 2 },
    });
    expect(matrix["generation"]!["no-deadlock"]).toMatchObject({ verdict: "pass", exhausted: false });
  });

  it("and so does whoever loses patience", async () => {
    const { matrix } = await runLab({
      designs: [design("generation")],
      scenarios: choose("ioctl/one"),
      signal: AbortSignal.abort(),
    });
    expect(matrix["generation"]!["no-deadlock"]).toEqual({
      verdict: "pass",
      executions: 0,
      exhausted: false,
    });
  });
});

describe("a counterexample", () => {
  it("that is none is refused by name", () => {
    expect(() => parseCounterexample("generation")).toThrow(/not of the form/);
    expect(() => parseCounterexample("unknown/ioctl@0")).toThrow(/not of the form/);
    expect(() => parseCounterexample("locked/nothing@0")).toThrow(/no scenario is called "nothing"/);
  });
});
