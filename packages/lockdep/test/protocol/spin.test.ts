import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkScenario, parseProtocol, toPromela, type Scenario } from "@vfiokit/lockdep/protocol";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { searchHang } from "../../src/protocol/search.js";
import { protocols } from "./random.js";

/** SPIN and a C compiler (Debian: spin, gcc) are the oracle. CI sets VFIOKIT_REQUIRE_SPIN=1. */
const hasSpin = spawnSync("spin", ["-V"]).status === 0 && spawnSync("gcc", ["--version"]).status === 0;
const required = process.env["VFIOKIT_REQUIRE_SPIN"] === "1";
if (!hasSpin && !required) console.log("spin or gcc is missing: the comparison with SPIN is skipped");
const RUNS = Number(process.env["VFIOKIT_SPIN_RUNS"] ?? 25);

const folder = mkdtempSync(join(tmpdir(), "lockdep-spin-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Does SPIN find an interleaving of the exported model that ends in a deadlock? */
function spinDeadlocks(scenario: Scenario): boolean {
  writeFileSync(join(folder, "model.pml"), toPromela(scenario));
  const options = { cwd: folder, encoding: "utf8", stdio: "pipe" } as const;
  execFileSync("spin", ["-a", "model.pml"], options);
  execFileSync("gcc", ["-O0", "-w", "-DSAFETY", "-DNOFAIR", "-o", "pan", "pan.c"], options);
  const output = execFileSync(join(folder, "pan"), ["-m100000"], options);
  expect(output).toMatch(/State-vector/);
  expect(output).not.toMatch(/search depth too small|assertion violated/);
  return /^pan:\d+: invalid end state/m.test(output);
}

/** Every task once, as SPIN runs them. */
const searchDeadlocks = (scenario: Scenario): boolean => {
  const result = searchHang(scenario.tasks, scenario.locks);
  if (result === "too many states") fc.pre(false);
  return result !== "none";
};

describe.runIf(hasSpin || required)("SPIN as oracle", () => {
  it("no protocol of mutexes that SPIN deadlocks is called clean", { timeout: 300_000 }, () => {
    let deadlocks = 0;
    fc.assert(
      fc.property(protocols("mutex"), (scenario) => {
        const deadlock = spinDeadlocks(scenario);
        if (deadlock) deadlocks++;
        expect(deadlock && checkScenario(scenario).verdict === "clean").toBe(false);
        // The search for schedules is held to the same oracle.
        const found = searchHang(scenario.tasks, scenario.locks);
        if (found !== "too many states") expect(found !== "none").toBe(deadlock);
      }),
      { numRuns: RUNS },
    );
    console.log(`${RUNS} random protocols, ${deadlocks} of them deadlock in SPIN`);
  });

  it(
    "agrees with the self-test's mutex rows: what it deadlocks is reported, what is clean it does not",
    { timeout: 300_000 },
    () => {
      const files = fileNames();
      for (const file of files)
        for (const scenario of parseProtocol(readFileSync(file, "utf8"), file).scenarios) {
          if ([...scenario.locks.values()].some((lock) => lock.kind !== "mutex")) continue;
          if (!["cycle", "clean"].includes(scenario.expect!)) continue;
          if (scenario.expect === "clean") expect(spinDeadlocks(scenario), scenario.name).toBe(false);
          else if (scenario.name.startsWith("ABBA"))
            expect(spinDeadlocks(scenario), scenario.name).toBe(true);
        }
    },
  );
});

function fileNames(): string[] {
  const selftest = new URL("../../protocols/selftest/", import.meta.url).pathname;
  return readdirSync(selftest).map((name) => selftest + name);
}

describe("the exhaustive search as oracle, on many more", () => {
  it("no protocol of mutexes that hangs is called clean", { timeout: 60_000 }, () => {
    let hangs = 0;
    fc.assert(
      fc.property(protocols("mutex", { tasks: 4, steps: 4 }), (scenario) => {
        if (checkScenario(scenario).verdict !== "clean") return;
        if (searchDeadlocks(scenario)) hangs++;
        expect(hangs).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it("nor one of rw-semaphores", { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(protocols("rwsem", { tasks: 4, steps: 4 }), (scenario) => {
        if (checkScenario(scenario).verdict === "clean") expect(searchDeadlocks(scenario)).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});
