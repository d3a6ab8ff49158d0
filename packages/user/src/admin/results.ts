/** What the answers of a control socket look like: whoever answers there may be anybody. */

import { injectableErrors, type InjectableError } from "@vfiokit/core/host";
import { MigrationState, type MigrationStateName } from "@vfiokit/core/migration";
import * as v from "valibot";
import { count } from "../control/index.js";
import type { AdminCommand, AdminResults } from "./protocol.js";

const text = v.string();
const yes = v.boolean();
const phase = v.picklist(["none", "prepared", "given"]);
const state = v.picklist(Object.keys(MigrationState) as MigrationStateName[]);
const functionStatus = v.object({ name: text, generation: count });
const lock = {
  lock: text,
  device: v.exactOptional(text),
  mode: v.picklist(["exclusive", "read", "write"]),
};

export const resultSchemas: { readonly [C in AdminCommand]: v.GenericSchema<unknown, AdminResults[C]> } = {
  info: v.object({
    name: text,
    id: text,
    connected: yes,
    openCount: count,
    paused: yes,
    stopped: v.array(v.picklist(["migration", "hand-over", "administrator"])),
    intxMasked: yes,
    removed: yes,
    generation: count,
    migratable: yes,
    handOver: v.exactOptional(
      v.object({ phase, id: v.exactOptional(text), to: v.exactOptional(text), since: v.exactOptional(text) }),
    ),
    faults: v.object({ count, failed: yes, last: v.exactOptional(text) }),
    set: v.array(text),
  }),
  reset: v.object({ generation: count }),
  "hot-reset": v.object({ functions: v.array(functionStatus) }),
  inject: v.object({ error: v.picklist(Object.keys(injectableErrors) as InjectableError[]) }),
  remove: v.object({ removed: v.literal(true) }),
  pause: v.object({ paused: yes }),
  resume: v.object({ paused: yes }),
  tasks: v.object({
    tasks: v.array(
      v.object({
        id: count,
        name: text,
        holds: v.array(v.object(lock)),
        waits: v.array(v.object({ ...lock, milliseconds: v.number(), heldBy: v.array(count) })),
      }),
    ),
  }),
  migration: v.object({ state, generation: count, sessionOpen: yes }),
  stream: v.object({
    format: count,
    sections: v.array(v.object({ name: text, version: count, optional: yes, size: v.exactOptional(count) })),
  }),
  "hand-over": v.object({
    phase,
    id: v.exactOptional(text),
    to: v.exactOptional(text),
    since: v.exactOptional(text),
    wasReset: yes,
    outcome: v.exactOptional(v.picklist(["activated", "discarded", "lost", "taken back"])),
    state,
    generation: count,
    instance: text,
  }),
};
