export { parseProtocol, ProtocolError } from "./parse.js";
export { checkScenario, type Finding, type ScenarioResult } from "./check.js";
export { makeLocks, runStep, type ProtocolLock } from "./run-step.js";
export { formatFinding } from "./report.js";
export { toPromela } from "./promela.js";
export { PROTOCOL_SCHEMA } from "./schema.js";
export type { LockSpec, Op, Protocol, Scenario, Step, TaskSpec, Verdict } from "./program.js";
