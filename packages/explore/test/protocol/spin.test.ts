import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Op, Scenario, Step } from "@vfiokit/lockdep/protocol";
import { explore } from "@vfiokit/explore";
import { protocolBody } from "@vfiokit/explore/protocol";
import { hasSpin, spinDeadlocks } from "../support/spin.js";

/** CI sets VFIOKIT_REQUIRE_SPIN=1, and compares more. */
const required = process.env["VFIOKIT_REQUIRE_SPIN"] === "1";
if (!hasSpin && !required) console.log("spin or gcc is missing: explore is not compared with SPIN");
const PROTOCOLS = Number(process.env["VFIOKIT_SPIN_PROTOCOLS"] ?? (required ? 500 : 100));
const SEED = Number(process.env["VFIOKIT_SPIN_SEED"] ?? 1);

const LOCKS = ["A", "B", "C"];
const AT = { fn: "", file: "random", line: 0, column: 0 };

/** Two to four tasks that each take up to three mutexes, some by trylocks, and release them in any order. */
const protocol: fc.Arbitrary<Scenario> = fc
  .array(
    fc.array(
      fc.record({
        lock: fc.constantFrom(...LOCKS),
        op: fc.constantFrom<Op>("lock", "lock", "lock", "lock", "trylock"),
        release: fc.nat(5),
        which: fc.nat(3),
      }),
      { minLength: 2, maxLength: 3 },
    ),
    { minLength: 2, maxLength: 4 },
  )
  .map((tasks) => ({
    name: "random",
    locks: new Map(LOCKS.map((name) => [name, { kind: "mutex", class: name }])),
    tasks: tasks.map((choices, i) => {
      const held: string[] = [];
      const steps: Step[] = [];
      const add = (op: Op, lock: string): void => void steps.push({ op, lock, subclass: 0, at: AT });
      for (const { lock, op, release, which } of choices) {
        if (release === 0 && held.length > 0) add("unlock", held.splice(which % held.length, 1)[0]!);
        if (held.includes(lock)) continue;
        add(op, lock);
        held.push(lock);
      }
      for (const lock of held.reverse()) add("unlock", lock);
      return { name: `t${i}`, steps };
    }),
  }));

describe.runIf(hasSpin || required)("SPIN as oracle", () => {
  it(`gives ${PROTOCOLS} random protocols the same verdict`, { timeout: 600_000 }, async () => {
    const scenarios = fc.sample(protocol, { numRuns: PROTOCOLS, seed: SEED });
    const spin = spinDeadlocks(scenarios);
    let executions = 0;
    const ours: boolean[] = [];
    for (const scenario of scenarios) {
      const report = await explore(protocolBody(scenario), {
        lockdep: false,
        plainFields: "none",
        awaits: "fused",
      });
      executions += report.executions;
      expect(report.exhausted || report.failures[0]?.kind === "deadlock").toBe(true);
      ours.push(!report.exhausted);
    }
    expect(ours).toEqual(spin);
    const deadlocks = spin.filter(Boolean).length;
    console.log(
      `${PROTOCOLS} random protocols, ${deadlocks} of them deadlock, says SPIN; explore says the same of each, ` +
        `in ${executions} executions`,
    );
    expect(deadlocks).toBeGreaterThan(PROTOCOLS / 10);
    expect(deadlocks).toBeLessThan((PROTOCOLS * 9) / 10);
  });
});
