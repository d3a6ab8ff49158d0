import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chosen, run, type Run } from "./harness.js";
import { scenarios, type ScenarioName } from "./scenarios.js";
import { Syscalls, type Fault } from "./syscalls.js";

/** Every call with every error (npm run faults), or some calls of each, with one error each. */
const LONG = process.env["VFIOKIT_LONG"] !== undefined;
const CALLS = 3;

let syscalls: Syscalls;
beforeAll(async () => {
  syscalls = await Syscalls.install();
});
afterAll(() => syscalls.uninstall());

const names = Object.keys(scenarios) as ScenarioName[];

describe.each(names)(
  "a system call that fails ends in success or a clear error, and leaves nothing: %s",
  (name) => {
    it("every call of every kind", { timeout: LONG ? 3_600_000 : 120_000 }, async () => {
      const scenario = scenarios[name];
      // What is made once for the process is made before anything is compared.
      await run(syscalls, scenario);
      const plain = await run(syscalls, scenario);
      expect(plain).toMatchObject({ error: undefined, problems: [] });

      const bad: { fault: Fault; run: Run }[] = [];
      let struck = 0;
      let failed = 0;
      for (const [call, count] of plain.counts) {
        const errnos = syscalls.errnos.get(call)!;
        for (const [i, at] of chosen(count, LONG ? 200 : CALLS).entries()) {
          for (const errno of LONG ? errnos : [errnos[i % errnos.length]!]) {
            const fault = { call, at, errno };
            const faulted = await run(syscalls, scenario, fault);
            if (faulted.struck) struck++;
            if (faulted.error !== undefined) failed++;
            if (faulted.problems.length > 0) bad.push({ fault, run: faulted });
          }
        }
      }
      const shown = bad.map(
        ({ fault, run: { problems, error } }) =>
          `${fault.call} ${fault.at} ${fault.errno} (${error ?? "success"}): ${problems.join("\n  ")}`,
      );
      console.log(`${name}: ${struck} faults, ${failed} of them ended in an error`);
      expect(shown.join("\n")).toBe("");
      expect(struck).toBeGreaterThan(20);
      expect(failed).toBeGreaterThan(5);
    });
  },
);
