export {
  explore,
  minimise,
  replay,
  type Body,
  type Exploration,
  type ExploreOptions,
  type ExploreReport,
  type FoundFailure,
  type Progress,
  type SharedCell,
  type TaskHandle,
  type TraceEvent,
} from "./explore.js";
export type { Failure, FailureKind } from "./execution.js";
