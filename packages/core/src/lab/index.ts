/** For laboratories: what a reset does, on which paths, and designs other than the core's own. Not for devices. */
export type { BarMapping } from "../device/bar-mapping.js";
export { hasSession, nextState } from "../migration/fsm.js";
export type { Migration } from "../migration/machine.js";
export { migrationOf } from "./migration-of.js";
export type { RuntimePm } from "../device/runtime-pm.js";
export { initiators, type InitiatorRules, type ResetInitiator } from "../reset/initiator.js";
export {
  generationStrategy,
  type ResetDevice,
  type ResetOutcome,
  type ResetStrategy,
} from "../reset/strategy.js";
