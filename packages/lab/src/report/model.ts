import { designs } from "../designs/index.js";
import { invariantNames, type Invariant } from "../invariants.js";
import type { Bounds, LabReport } from "../run.js";
import { parseCounterexample, replayCounterexample, type CounterexampleLine } from "../counterexample.js";
import { cycleLines } from "./cycle-lines.js";
import { observeLocks, type LockGraph } from "./lock-graph.js";

/** How one failing cell fails. */
export interface Story {
  readonly design: string;
  readonly invariant: Invariant;
  /** What it shows, in one line. */
  readonly finding: string;
  /** For `vfiokit lab replay`. */
  readonly counterexample: string;
  /** No execution: what tasks could do that take locks in the orders that were seen. */
  readonly deduced: boolean;
  readonly lines: readonly CounterexampleLine[];
}

/** All that the report shows; plain data. */
export interface ReportModel {
  readonly report: LabReport;
  readonly bounds: Bounds;
  readonly designs: readonly { readonly name: string; readonly title: string; readonly graph: LockGraph }[];
  /** In the order of the matrix: by design, by invariant. */
  readonly stories: readonly Story[];
}

/** Replays the counterexamples and looks at the locks of a report's designs. */
export async function reportModel(report: LabReport, bounds: Bounds = {}): Promise<ReportModel> {
  const shown: ReportModel["designs"][number][] = [];
  const stories: Story[] = [];
  for (const design of designs.filter(({ name }) => report.matrix[name])) {
    const { graph, problems } = await observeLocks(design);
    shown.push({ name: design.name, title: design.title, graph });
    for (const invariant of invariantNames) {
      const counterexample = report.matrix[design.name]![invariant]?.counterexample;
      if (counterexample === undefined) continue;
      const deduced = parseCounterexample(counterexample).scenario === undefined;
      const [problem] = problems;
      const lines =
        deduced && problem?.kind === "cycle"
          ? cycleLines(problem)
          : (await replayCounterexample(counterexample)).lines;
      const finding = report.findings[design.name]?.[invariant] ?? "";
      stories.push({ design: design.name, invariant, finding, counterexample, deduced, lines });
    }
  }
  return { report, bounds, designs: shown, stories };
}
