/**
 * The control socket's protocol: each request and each reply is one line of JSON, and replies come in the order of the
 * requests (docs/administration.md).
 */
import {
  Errno,
  VfioError,
  injectableErrors,
  type ErrnoName,
  type InjectableError,
  type MigrationStateName,
} from "@vfiokit/core";
import type { TaskReport } from "./tasks.js";

/** Bytes of a request at most, without its newline. */
export const MAX_REQUEST = 4096;
/** Bytes of a reply at most, without its newline. */
export const MAX_REPLY = 1024 * 1024;

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
}

export type AdminCommand = keyof AdminResults;

export type AdminRequest<C extends AdminCommand = AdminCommand> = C extends "inject"
  ? { readonly command: C; readonly error: InjectableError }
  : { readonly command: C };

export interface DeviceStatus {
  readonly name: string;
  /** "1b36:0102" */
  readonly id: string;
  /** A vfio-user client is connected. */
  readonly connected: boolean;
  /** Files open on it, where it is opened as VFIO files are. */
  readonly openCount: number;
  readonly paused: boolean;
  readonly removed: boolean;
  /** Resets so far. */
  readonly generation: number;
  readonly migratable: boolean;
  /** Names of the functions that a hot reset resets. */
  readonly set: readonly string[];
}

export interface FunctionStatus {
  readonly name: string;
  readonly generation: number;
}

export interface MigrationStatus {
  readonly state: MigrationStateName;
  readonly generation: number;
  readonly sessionOpen: boolean;
}

/** A request that failed. */
export interface AdminFailure {
  readonly errno: number;
  readonly code: ErrnoName;
  readonly message: string;
}

export type AdminReply = { readonly result: AdminResults[AdminCommand] } | { readonly error: AdminFailure };

/** The fields of each request beside `command`, and the values that they may have. */
const fields: Readonly<Record<AdminCommand, Readonly<Record<string, readonly string[]>>>> = {
  info: {},
  reset: {},
  "hot-reset": {},
  inject: { error: Object.keys(injectableErrors) },
  remove: {},
  pause: {},
  resume: {},
  tasks: {},
  migration: {},
};

/** Whether a command does something to the device, and does not only look at it. */
export function changes(command: AdminCommand): boolean {
  return command !== "info" && command !== "tasks" && command !== "migration";
}

/** @throws VfioError EINVAL naming the field, the value and the rule */
export function parseRequest(line: Uint8Array): AdminRequest {
  const request = parseObject("request", line);
  const command = oneOf(request, "command", Object.keys(fields)) as AdminCommand;
  const own = fields[command];
  const stray = Object.keys(request).find((name) => name !== "command" && !Object.hasOwn(own, name));
  if (stray !== undefined) {
    throw new VfioError(
      "EINVAL",
      `field ${show(stray)}: ${command} takes ${["command", ...Object.keys(own)].join(" and ")}`,
    );
  }
  for (const [name, values] of Object.entries(own)) oneOf(request, name, values);
  return request as unknown as AdminRequest;
}

/** @throws VfioError EPROTO: this is no reply of a control socket; otherwise what the reply says */
export function parseReply(line: Uint8Array): AdminResults[AdminCommand] {
  let reply: Partial<Record<string, unknown>>;
  try {
    reply = parseObject("reply", line);
  } catch {
    throw new VfioError("EPROTO", `the answer is no JSON object: is it a control socket?`);
  }
  const { result, error } = reply;
  if (typeof result === "object" && result !== null) return result as AdminResults[AdminCommand];
  const { code, message } = (error ?? {}) as Partial<Record<string, unknown>>;
  if (typeof code !== "string" || typeof message !== "string" || !Object.hasOwn(Errno, code))
    throw new VfioError("EPROTO", `the answer has neither a result nor an error: is it a control socket?`);
  throw new VfioError(code as ErrnoName, message);
}

/** A reply for what an operation threw. */
export function failureOf(error: VfioError): AdminReply {
  const { code, errno, message } = error;
  return { error: { errno, code, message: message.replace(`${code}: `, "") } };
}

function parseObject(what: string, line: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(line);
  } catch {
    throw new VfioError("EINVAL", `${what} of ${line.length} bytes: not UTF-8`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new VfioError("EINVAL", `${what} ${show(text)}: not JSON`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new VfioError("EINVAL", `${what} ${show(text)}: not a JSON object`);
  return value as Record<string, unknown>;
}

function oneOf(request: Record<string, unknown>, name: string, values: readonly string[]): string {
  const value = Object.hasOwn(request, name) ? request[name] : undefined;
  const rule = `one of ${values.join(", ")}`;
  if (value === undefined) throw new VfioError("EINVAL", `field ${show(name)} is missing: ${rule}`);
  if (typeof value !== "string" || !values.includes(value))
    throw new VfioError("EINVAL", `${name} ${show(value)}: ${rule}`);
  return value;
}

/** A value of the peer's in a message: quoted, and cut where it is long. */
function show(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
