/** A line of a control socket: a JSON object (docs/administration.md). */
import { Errno, invalid, VfioError, type ErrnoName } from "@vfiokit/core";
import { SyscallError } from "../linux/index.js";

/** Bytes of a reply at most, without its newline. */
export const MAX_REPLY = 1024 * 1024;

/** A request that failed. A service may tell more. */
export interface ControlFailure {
  readonly errno: number;
  readonly code: ErrnoName;
  readonly message: string;
}

/** An object of a control socket's line, before it is looked at. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** @throws VfioError EINVAL naming `what` */
export function parseObject(what: string, line: Uint8Array): JsonObject {
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
    throw invalid(what, show(text), "not JSON");
  }
  return asObject(what, value, text);
}

/** @throws VfioError EINVAL */
export function asObject(what: string, value: unknown, shown = value): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(what, show(shown), "not a JSON object");
  return value as JsonObject;
}

/** A value of the peer's in a message: quoted, and cut where it is long. */
export function show(value: unknown): string {
  const text = value === undefined ? "missing" : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** What a request is answered that could not be carried out; undefined: by a bug. */
export function failureOf(error: unknown): ControlFailure | undefined {
  if (error instanceof VfioError) return { errno: error.errno, code: error.code, message: error.detail };
  if (!(error instanceof SyscallError)) return undefined;
  const { errno, message } = error;
  const code = Object.hasOwn(Errno, error.code) ? (error.code as ErrnoName) : "EIO";
  return { errno, code, message };
}

/** The line that ends a reply. @throws VfioError EPROTO: it is none */
export function failureIn(error: unknown): ControlFailure {
  const { code, message } = (error ?? {}) as Partial<ControlFailure>;
  if (typeof code !== "string" || typeof message !== "string" || !Object.hasOwn(Errno, code))
    throw new VfioError("EPROTO", "the answer has neither a result nor an error: is it a control socket?");
  return error as ControlFailure;
}
