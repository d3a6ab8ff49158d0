/**
 * The control socket's protocol: each request and each reply is one line of JSON, and replies come in the order of the
 * requests (docs/administration.md).
 */
import { VfioError } from "@vfiokit/core";
import {
  handOverIdRule,
  isHandOverId,
  type HandOverOutcome,
  type HandOverPhase,
  type HandOverStatus,
  type MigrationStateName,
  type StreamLayout,
} from "@vfiokit/core/migration";
import {
  injectableErrors,
  type FaultReport,
  type InjectableError,
  type StopReason,
} from "@vfiokit/core/host";
import { parseObject, show, type ControlFailure, type JsonObject } from "../control/index.js";
import type { TaskReport } from "./tasks.js";

/** Bytes of a request at most, without its newline. */
export const MAX_REQUEST = 4096;

/** What each command answers. */
export interface AdminResults {
  readonly info: DeviceStatus;
  readonly reset: { readonly generation: number };
  readonly "hot-reset": { readonly functions: readonly FunctionStatus[] };
  readonly inject: { readonly error: InjectableError };
  readonly remove: { readonly removed: true };
  readonly pause: { readonly paused: boolean };
  readonly resume: { readonly paused: boolean };
  readonly tasks: { readonly tasks: readonly TaskReport[] };
  readonly migration: MigrationStatus;
  readonly stream: StreamLayout;
  readonly "hand-over": HandOverReport;
}

/** A command of the control socket. */
export type AdminCommand = keyof AdminResults;

/** A line that the control socket takes. */
export type AdminRequest<C extends AdminCommand = AdminCommand> = C extends "inject"
  ? { readonly command: C; readonly error: InjectableError }
  : C extends "hand-over"
    ? { readonly command: C } & HandOverRequest
    : { readonly command: C };

/** Without an id, `status` does not look for the outcome of a hand-over. */
export type HandOverRequest =
  | {
      readonly step: HandOverStep;
      readonly id: string;
      /** Of `give`: the target's name. */ readonly to?: string;
    }
  | { readonly step: "status"; readonly id?: string };

/** What each step does: docs/migration.md, "Hand-over". */
export const handOverSteps = ["prepare", "activate", "discard", "give", "take-back", "status"] as const;

/** A step of a hand-over that the control socket takes. */
export type HandOverStep = (typeof handOverSteps)[number];

/** What `ctl info` shows of a device. */
export interface DeviceStatus {
  readonly name: string;
  /** "1b36:0102" */
  readonly id: string;
  /** A vfio-user client is connected. */
  readonly connected: boolean;
  /** How many clients have it open: a server's has from VERSION on. */
  readonly openCount: number;
  readonly paused: boolean;
  /** Why its function begins nothing: empty where it runs. */
  readonly stopped: readonly StopReason[];
  /** The client has masked INTx, or it was delivered and the client has not unmasked it since. */
  readonly intxMasked: boolean;
  readonly removed: boolean;
  /** Exceptions that its own code has thrown: a bug in it. */
  readonly faults: FaultReport;
  /** Resets so far. */
  readonly generation: number;
  readonly migratable: boolean;
  /** Of a device that can be migrated. */
  readonly handOver?: Omit<HandOverStatus, "wasReset">;
  /** Names of the functions that a hot reset resets. */
  readonly set: readonly string[];
}

/** A function of the device's set, as `ctl info` shows it. */
export interface FunctionStatus {
  readonly name: string;
  readonly generation: number;
}

/** What `ctl info` shows of a migration. */
export interface MigrationStatus {
  readonly state: MigrationStateName;
  readonly generation: number;
  readonly sessionOpen: boolean;
}

/** Where a device is in a hand-over. */
export interface HandOverReport {
  readonly phase: HandOverPhase;
  /** Of the hand-over under way: in `prepared` and `given`. */
  readonly id?: string;
  /** Who it was given to, where the migration client has said so. */
  readonly to?: string;
  /** Since when: ISO 8601, UTC. */
  readonly since?: string;
  /** It was reset since `prepare`, whose image is lost, or since `give`. */
  readonly wasReset: boolean;
  /** How the hand-over that was asked about has ended here, where it has, and is remembered. */
  readonly outcome?: HandOverOutcome;
  readonly state: MigrationStateName;
  readonly generation: number;
  /** Of the device in this very process: ids of hand-overs from it begin with it. */
  readonly instance: string;
}

/** A request that failed. */
export type AdminFailure = ControlFailure;

/** A line that the control socket answers with. */
export type AdminReply = { readonly result: AdminResults[AdminCommand] } | { readonly error: AdminFailure };

/** What a field of a request has to be. */
interface FieldRule {
  /** In messages. */
  readonly rule: string;
  readonly holds: (value: string) => boolean;
  /** Whether this request may be without it. */
  readonly optional?: (request: Readonly<Record<string, unknown>>) => boolean;
}

function oneOf(values: readonly string[]): FieldRule {
  return { rule: `one of ${values.join(", ")}`, holds: (value) => values.includes(value) };
}

const handOverId: FieldRule = {
  rule: handOverIdRule,
  holds: isHandOverId,
  optional: ({ step }) => step === "status",
};

const MAX_TARGET = 1024;
const target: FieldRule = {
  rule: `the target's name, of give: at most ${MAX_TARGET} characters`,
  holds: (value) => value.length <= MAX_TARGET,
  optional: () => true,
};

/** The fields of each request beside `command`. */
const fields: Readonly<Record<AdminCommand, Readonly<Record<string, FieldRule>>>> = {
  info: {},
  reset: {},
  "hot-reset": {},
  inject: { error: oneOf(Object.keys(injectableErrors)) },
  remove: {},
  pause: {},
  resume: {},
  tasks: {},
  migration: {},
  stream: {},
  "hand-over": { step: oneOf(handOverSteps), id: handOverId, to: target },
};

const lookingOnly: ReadonlySet<AdminCommand> = new Set(["info", "tasks", "migration", "stream"]);

/** Whether a request does something to the device, and does not only look at it. */
export function changes(request: AdminRequest): boolean {
  if (request.command === "hand-over") return request.step !== "status";
  return !lookingOnly.has(request.command);
}

/** @throws VfioError EINVAL naming the field, the value and the rule */
export function parseRequest(line: Uint8Array): AdminRequest {
  const request = parseObject("request", line);
  const command = check(request, "command", oneOf(Object.keys(fields))) as AdminCommand;
  const own = fields[command];
  const stray = Object.keys(request).find((name) => name !== "command" && !Object.hasOwn(own, name));
  if (stray !== undefined) {
    throw new VfioError(
      "EINVAL",
      `field ${show(stray)}: ${command} takes ${["command", ...Object.keys(own)].join(" and ")}`,
    );
  }
  for (const [name, rule] of Object.entries(own)) check(request, name, rule);
  return request as unknown as AdminRequest;
}

function check(request: JsonObject, name: string, field: FieldRule): string | undefined {
  const value = Object.hasOwn(request, name) ? request[name] : undefined;
  if (value === undefined) {
    if (field.optional?.(request)) return undefined;
    throw new VfioError("EINVAL", `field ${show(name)} is missing: ${field.rule}`);
  }
  if (typeof value !== "string" || !field.holds(value))
    throw new VfioError("EINVAL", `${name} ${show(value)}: ${field.rule}`);
  return value;
}
