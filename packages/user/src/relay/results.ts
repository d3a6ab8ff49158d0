/** What a relay's control socket answers, and tells meanwhile: whoever answers there may be anybody. */

import * as v from "valibot";
import { checked, count } from "../control/index.js";
import { migratePhases, type MigrateEvent, type SavedImage } from "../migrate/index.js";
import type { MoveResult } from "./move.js";
import type { RelayStatus } from "./relay.js";

const text = v.string();
const yes = v.boolean();
const number = v.number();
const measured = v.optional(number);

export const relayStatus: v.GenericSchema<unknown, RelayStatus> = v.object({
  relay: v.literal(true),
  listen: text,
  server: text,
  connected: yes,
  migrating: yes,
  underWay: count,
  snapshots: count,
});

const result = {
  id: text,
  status: v.picklist(["migrated", "compatible"]),
  bytes: count,
  stopCopyBytes: count,
  rounds: count,
  restarts: count,
  precopyEnd: v.picklist(["converged", "rounds", "nothing-left", "none"]),
  downtime_ms: number,
  expectedDowntime_ms: measured,
  total_ms: number,
};
const moveResult = v.object({ ...result, pause_ms: number });

const progress = {
  phase: v.picklist(["precopy", "stop-copy"]),
  round: count,
  bytes: count,
  remaining: measured,
  rate_Bps: measured,
  dirtyRate_Bps: measured,
  expectedDowntime_ms: measured,
};
/** Of an end, what is shown of it. */
const end = v.looseObject({ name: text });
const moveEvent = v.variant("event", [
  v.object({ event: v.literal("phase"), phase: v.picklist(migratePhases) }),
  v.object({ event: v.literal("check"), id: text, source: end, target: end, precopy: yes, recoverable: yes }),
  v.object({ event: v.literal("progress"), ...progress }),
  v.object({ event: v.literal("round"), ...progress }),
  v.object({ event: v.literal("restart"), restarts: count, reason: text }),
  v.object({ event: v.literal("warning"), message: text }),
  v.object({ event: v.literal("done"), ...result }),
]);

export const savedPiece = v.object({ image: v.pipe(text, v.base64()) });
/** Of the identity, every number that a PCI device is told by. */
export const savedImage: v.GenericSchema<unknown, SavedImage> = v.object({
  identity: v.object({
    vendor: count,
    device: count,
    subsystemVendor: count,
    subsystemDevice: count,
    classCode: count,
    revision: count,
  }),
  bytes: count,
  paused_ms: number,
});

/** @throws VfioError EPROTO */
export function checkedMove(answer: unknown): MoveResult {
  return checked<unknown>(moveResult, answer) as MoveResult;
}

/** @throws VfioError EPROTO */
export function checkedEvent(event: unknown): MigrateEvent {
  return checked<unknown>(moveEvent, event) as MigrateEvent;
}
