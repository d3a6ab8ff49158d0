export { catalogue, choose, subsets } from "./catalogue.js";
export type { Design } from "./design.js";
export { designs } from "./designs/index.js";
export { invariantNames, invariants, type Invariant, type Violation } from "./invariants.js";
export {
  runLab,
  type Bounds,
  type Elsewhere,
  type Cell,
  type LabOptions,
  type LabProgress,
  type LabReport,
  type Matrix,
} from "./run.js";
export { runPart, type LabPart, type LabPartResult } from "./part.js";
export type { Scenario } from "./scenario.js";
export {
  parseCounterexample,
  replayCounterexample,
  type Replayed,
  type CounterexampleLine,
} from "./counterexample.js";
export { reportHtml } from "./report/html.js";
export { reportModel, type ReportModel, type Story } from "./report/model.js";
