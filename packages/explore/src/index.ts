export { explore, replay, type ExploreOptions, type Progress } from "./explore.js";
export { minimise, type MinimiseOptions } from "./minimise.js";
export type { Body, Exploration, SharedCell, TaskHandle } from "./exploration.js";
export { formatFailure, formatReport } from "./report.js";
export type { Bounds, ExploreReport, FoundFailure, TraceEvent, Verdict } from "./report.js";
export type { Failure, FailureKind } from "./failure.js";
export { NotDeterministic } from "./errors.js";
export type { TimerHandle, VirtualClock } from "./virtual-clock.js";
