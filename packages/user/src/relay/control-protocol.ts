/**
 * The relay's control socket, at its socket's path and ".ctl": requests and replies as on a device's control socket
 * (admin/protocol.ts), with commands of its own. `migrate` answers with one line for each event, then with a result or an
 * error; `save` with one for each piece of the image. The line {"command":"cancel"} cancels a move, as far as it still can
 * be; so does hanging up. All other commands but `info` go to the server of the moment.
 */
import { VfioError } from "@vfiokit/core";
import { handOverIdRule, isHandOverId } from "@vfiokit/core/migration";
import { asObject, parseObject, show, type ControlFailure, type JsonObject } from "../control/index.js";
import { MigrateError, type MigrateOptions } from "../migrate/index.js";

/** What `migrate` may be told. */
export type RemoteMoveOptions = Pick<
  MigrateOptions,
  "id" | "maxDowntime_ms" | "maxRounds" | "bandwidth_Bps" | "maxRestarts" | "dryRun"
>;

export type RelayRequest =
  | { readonly command: "info" }
  /** Answered with one event for each piece of the image, as {"image": BASE64}, then with what was saved. */
  | { readonly command: "save" }
  | { readonly command: "migrate"; readonly to: string; readonly options: RemoteMoveOptions }
  /** Of a move that is over. */
  | { readonly command: "cancel" }
  /** For the server. */
  | { readonly command: "other"; readonly request: JsonObject };

/** What the answer to a move that failed says besides. */
interface MoveFailure extends ControlFailure {
  readonly phase?: MigrateError["phase"];
  readonly runs?: MigrateError["runs"];
}

const numbers = ["maxDowntime_ms", "maxRounds", "bandwidth_Bps", "maxRestarts"] as const;
const MAX_PATH = 4096;

/** @throws VfioError EINVAL naming the field, the value and the rule */
export function parseRelayRequest(line: Uint8Array): RelayRequest {
  const request = parseObject("request", line);
  const { command } = request;
  if (command === "info" || command === "save" || command === "cancel") return { command };
  if (command !== "migrate") return { command: "other", request };
  const { to } = request;
  if (typeof to !== "string" || !to.startsWith("/") || to.length > MAX_PATH)
    throw wrong("to", to, "an absolute path");
  const given = asObject("options", request["options"] ?? {});
  const known: readonly string[] = [...numbers, "id", "dryRun"];
  for (const name of Object.keys(given))
    if (!known.includes(name)) throw wrong(`options.${name}`, given[name], `one of ${known.join(", ")}`);
  for (const name of numbers) {
    const value = given[name];
    if (value !== undefined && (typeof value !== "number" || !(value >= 0)))
      throw wrong(`options.${name}`, value, "a number, 0 or more");
  }
  for (const name of ["maxDowntime_ms", "maxRounds"] as const)
    if (given[name] === undefined) throw wrong(`options.${name}`, undefined, "needed");
  if (given["id"] !== undefined && (typeof given["id"] !== "string" || !isHandOverId(given["id"])))
    throw wrong("options.id", given["id"], handOverIdRule);
  if (given["dryRun"] !== undefined && typeof given["dryRun"] !== "boolean")
    throw wrong("options.dryRun", given["dryRun"], "true or false");
  return { command: "migrate", to, options: given as unknown as RemoteMoveOptions };
}

export function aboutMove(error: unknown): object {
  return error instanceof MigrateError ? { phase: error.phase, runs: error.runs } : {};
}

export function moveError({ code, message, phase, runs }: MoveFailure): VfioError {
  if (phase === undefined || runs === undefined) return new VfioError(code, message);
  return new MigrateError(code, message, phase, runs);
}

function wrong(name: string, value: unknown, rule: string): VfioError {
  const detail = `${name} is ${show(value)}: ${rule}`;
  return new VfioError("EINVAL", { field: name, value: show(value), rule, detail });
}
