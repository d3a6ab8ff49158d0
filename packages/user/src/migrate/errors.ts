import { VfioError, type ErrnoName } from "@vfiokit/core";
import type { MigratePhase } from "./options.js";

/** A migration that failed. The message says which side runs, or how to find out. */
export class MigrateError extends VfioError {
  constructor(
    code: ErrnoName,
    message: string,
    readonly phase: MigratePhase,
    /**
     * Which device runs now. "none": the source's server is gone, and its device with it; the target is as after a
     * reset. "unknown": to be recovered, as the message says.
     */
    readonly runs: "source" | "none" | "unknown",
    options?: ErrorOptions,
  ) {
    super(code, message);
    this.cause = options?.cause;
  }
}

/** The server at an end is gone: its process has ended, and the device with it. Nothing runs there. */
export class EndpointGoneError extends VfioError {
  constructor(message: string) {
    super("ENOTCONN", message);
  }
}

/** Codes that a broken connection has, and no server's answer: what was asked for may have been done. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "ENOTCONN",
  "EPIPE",
  "EPROTO",
  "ETIMEDOUT",
]);

/** Whether a device's server itself has refused: what was asked for has certainly not been done. */
export function isAnswer(error: unknown): error is VfioError {
  return error instanceof VfioError && !CONNECTION_CODES.has(error.code);
}

/** A reset of the device came in between (docs/resets.md): the image is worth nothing, the device can be used. */
export function isReset(error: unknown): boolean {
  return error instanceof VfioError && (error.code === "ECANCELED" || error.code === "ENODEV");
}

/** The message of whatever was thrown, without its error code. */
export function reasonOf(error: unknown): string {
  if (error instanceof VfioError) return error.detail;
  return error instanceof Error ? error.message : String(error);
}
