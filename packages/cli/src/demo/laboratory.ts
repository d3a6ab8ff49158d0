import { choose, designs, invariantNames, runLab, type LabReport } from "@vfiokit/lab";
import { matrixTable } from "../lab/matrix.js";
import type { Narrator } from "./narrator.js";
import { err } from "../output.js";

/** The design of this core: of the others it is known that they fail. */
const OWN = "generation";
const SUBSET = "demo";

/**
 * Five designs of a reset during a migration, in every order of events that matters. Progress, on a terminal, goes to
 * standard error.
 */
export async function laboratory(tell: Narrator): Promise<void> {
  await tell.chapter(
    `Why a reset is safe: five designs, in every order of events (vfiokit lab run --scenario ${SUBSET})`,
  );
  tell.note(
    "What a reset does to a migration, as Linux's drivers do it (locked, deferred), as a patch (callback)",
  );
  tell.note(
    "and its review (release) propose it, and as this core does it. Each order of tasks is a run of the core.",
  );
  tell.line();
  const report = await run(tell);
  for (const row of matrixTable(report.matrix, tell.style)) tell.note(row);
  tell.line();
  const cells = Object.entries(report.matrix).flatMap(([design, verdicts]) =>
    invariantNames.map((invariant) => ({ design, cell: verdicts[invariant] })),
  );
  tell.check(
    cells.every(({ cell }) => cell?.exhausted === true),
    `${report.executions.toLocaleString("en-US")} executions in ${(report.time / 1000).toFixed(1)} s; no order that could differ is left out`,
  );
  tell.check(
    cells.every(({ design, cell }) => design !== OWN || cell?.verdict === "pass"),
    `${OWN}, the design of this core, passes all of them`,
  );
  deadlock(tell, report);
  const [some, all] = [choose(SUBSET).length, choose("all").length];
  tell.note(
    `That was ${some} scenarios. The full run has ${all}: every operation beside every reset, in some minutes:`,
  );
  tell.note(tell.style.cyan("npx vfiokit lab run"));
}

async function run({ style }: Narrator): Promise<LabReport> {
  const progress = new Progress();
  try {
    return await runLab({
      designs,
      scenarios: choose(SUBSET),
      onProgress: ({ done, total, design }) =>
        progress.show(style.dim(`${done} of ${total} scenarios, ${design}`)),
    });
  } finally {
    progress.end();
  }
}

/** How the oldest of the designs hangs, and how to see it happen. */
function deadlock(tell: Narrator, { matrix, findings }: LabReport): void {
  const name = "locked";
  const counterexample = matrix[name]?.["no-deadlock"]?.counterexample;
  tell.check(counterexample !== undefined, `${name} deadlocks, as lockdep says of the kernel's drivers:`);
  const finding = findings[name]?.["no-deadlock"] ?? "";
  for (const wait of finding.split("; ")) tell.note(`  ${wait}`);
  tell.note(tell.style.cyan(`npx vfiokit lab replay '${counterexample!}'`));
}

/** One line on a terminal, rewritten; nothing anywhere else. */
class Progress {
  private shown = 0;

  show(text: string): void {
    if (performance.now() - this.shown < 100) return;
    this.shown = performance.now();
    err.progress(`    ${text}`);
  }

  end(): void {
    err.clearProgress();
  }
}
