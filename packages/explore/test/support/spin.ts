import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toPromela, type Scenario } from "@vfiokit/lockdep/protocol";

/** SPIN and a C compiler (Debian: spin, gcc). */
export const hasSpin = spawnSync("spin", ["-V"]).status === 0 && spawnSync("gcc", ["--version"]).status === 0;

/** SPIN numbers processes in a byte. */
const MAX_PROCESSES = 240;

/**
 * Which of the scenarios can deadlock, says SPIN. A compiler run costs more than most scenarios, so many of them make
 * one model: a number from the environment says which scenario's processes it starts.
 */
export function spinDeadlocks(scenarios: readonly Scenario[]): boolean[] {
  const batches: Scenario[][] = [[]];
  let processes = 0;
  for (const scenario of scenarios) {
    processes += scenario.tasks.length;
    if (processes > MAX_PROCESSES) {
      batches.push([]);
      processes = scenario.tasks.length;
    }
    batches.at(-1)!.push(scenario);
  }
  return batches.flatMap(runBatch);
}

function runBatch(scenarios: readonly Scenario[]): boolean[] {
  const folder = mkdtempSync(join(tmpdir(), "explore-spin-"));
  try {
    writeFileSync(join(folder, "model.pml"), batchModel(scenarios));
    const options = { cwd: folder, encoding: "utf8", stdio: "pipe" } as const;
    execFileSync("spin", ["-a", "model.pml"], options);
    const flags = ["-O0", "-w", "-DSAFETY", "-DNOFAIR", "-DVECTORSZ=4096"];
    execFileSync("gcc", [...flags, "-o", "pan", "pan.c"], options);
    return scenarios.map(({ name }, i) => {
      const env = { ...process.env, SCENARIO: `${i}` };
      const output = execFileSync(join(folder, "pan"), ["-m10000", "-w18"], { ...options, env });
      if (!/State-vector/.test(output) || /search depth too small|assertion violated/.test(output))
        throw new Error(`${name}: pan says ${output}`);
      return /^pan:\d+: invalid end state/m.test(output);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function batchModel(scenarios: readonly Scenario[]): string {
  const models = scenarios.map((scenario, i) => toPromela(unique(scenario, `s${i}`)));
  const choices = models.map((model, i) => {
    const starts = [...model.matchAll(/active proctype (\w+)/g)].map(([, name]) => `run ${name}();`);
    return `  :: c_expr { !(chosen - ${i}) } -> ${starts.join(" ")}`;
  });
  return [
    "c_decl {\n\\#include <stdlib.h>\nint chosen;\n}",
    ...models.map((model) => model.replaceAll("active proctype", "proctype")),
    'init { c_code { chosen = atoi(getenv("SCENARIO")); };',
    `atomic { if\n${choices.join("\n")}\n  fi } }`,
  ].join("\n");
}

/** The same with names of its own. */
function unique(scenario: Scenario, prefix: string): Scenario {
  return {
    ...scenario,
    locks: new Map([...scenario.locks].map(([name, spec]) => [`${prefix}${name}`, spec])),
    tasks: scenario.tasks.map(({ name, steps }) => ({
      name: `${prefix}${name}`,
      steps: steps.map((step) => ({ ...step, lock: `${prefix}${step.lock}` })),
    })),
  };
}
