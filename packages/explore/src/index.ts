export { explore, replay, type ExploreOptions } from "./explore.js";
export type { Basis, Counts, Progress } from "./tally.js";
export { exploreParts, type PartsOptions, type RunSubtree } from "./parts.js";
export {
  exploreSubtree,
  type PlaceData,
  type Sleep,
  type SubtreeJob,
  type SubtreeOptions,
  type SubtreeResult,
} from "./subtree.js";
export type { Demand } from "./demand.js";
export type { FootprintData } from "./footprint.js";
export type { Detail, Knowledge } from "./needs.js";
export { minimise, type MinimiseOptions } from "./minimise.js";
export type { AwaitsAre, PlainFields } from "./assumptions.js";
export type { Body, Exploration, SharedCell, StepOptions, TaskHandle } from "./exploration.js";
export { exitCodeOf, formatFailure, formatReport } from "./report.js";
export type { Bounds, ExploreReport, FoundFailure, TraceEvent, Verdict } from "./report.js";
export type { Failure, FailureKind } from "./failure.js";
export { NotDeterministic } from "./errors.js";
export type { TimerHandle, VirtualClock } from "./virtual-clock.js";
