import { resolve } from "node:path";
import { Argument, Command } from "commander";
import { VfioError } from "@vfiokit/core";
import { injectableErrors, type InjectableError } from "@vfiokit/core/host";
import {
  AdminClient,
  findControlSocket,
  handOverSteps,
  keptAway,
  RelayClient,
  type AdminCommand,
  type AdminRequest,
  type AdminResults,
  type HandOverStep,
  type RelayStatus,
} from "@vfiokit/user";
import { CommandError, UsageError } from "../errors.js";
import { out } from "../output.js";
import { table } from "../shared/tables.js";
import { timeoutOption } from "../shared/timeout.js";
import { formatRelay, formatResult } from "./format.js";

const commands: Readonly<Record<AdminCommand, string>> = {
  info: "the device, its client, its resets",
  reset: "reset it, as the host's administrator does through sysfs",
  "hot-reset": "reset every function of its card at once",
  inject: "make it report an error: correctable, nonfatal or fatal",
  remove: "pull the card out; there is no way back",
  pause: "have it begin nothing more; its registers can be accessed",
  resume: "end a pause",
  tasks: "who is at work on it, with the locks that each holds and waits for",
  migration: "its migration state, and whether a data session is open",
  stream: "what its migration stream is made of: sections, versions, sizes",
  "hand-over": `a step of a hand-over: ${handOverSteps.join(", ")}`,
};

/** What a program that is no control socket answers, or a server that has just gone. */
const NO_CONTROL_SOCKET: ReadonlySet<string> = new Set(["EPROTO", "ECONNRESET", "EPIPE", "EMSGSIZE"]);

/** `vfiokit ctl SOCKET COMMAND`. */
export function ctlCommand(): Command {
  return new Command("ctl")
    .argument("<socket>", "path of the device's socket, or of its control socket")
    .addArgument(new Argument("<command>", "what to do").choices(Object.keys(commands)))
    .addArgument(new Argument("[what]", "the error of inject, the step of hand-over"))
    .addArgument(new Argument("[id]", "of hand-over: 32 hexadecimal digits"))
    .addOption(timeoutOption())
    .option("--control", "<socket> is a control socket, though its name does not end with .ctl")
    .option("--json", "print the result as one line of JSON")
    .addHelpText("after", () => ["", "Commands:", ...table(helpRows()), ""].join("\n"))
    .action(
      async (
        socket: string,
        command: AdminCommand,
        what: string | undefined,
        id: string | undefined,
        { json, timeout, control }: Options,
      ) => {
        const request = requestOf(command, what, id);
        const path = resolve(socket);
        const at = control ? path : controlSocketAt(path);
        const relay = command === "info" ? await relayAt(at, timeout) : undefined;
        const result = relay ?? (await ask(path, at, request, timeout));
        if (json) out.json(result);
        else if (relay) out.lines(formatRelay(relay, out.style));
        else out.lines(formatResult(request.command, result as AdminResults[AdminCommand], out.style));
        // A device that was given away answers nobody else: how to have it back.
        const kept =
          !json && command === "info" && !relay && keptAwayOf(result as AdminResults["info"], socket);
        if (kept) out.line(kept);
      },
    );
}

interface Options {
  /** Milliseconds. */
  readonly timeout: number;
  readonly control?: true;
  readonly json?: true;
}

/** JSON ends libvfio-user's servers, which serve one client and then are gone. @throws CommandError */
function controlSocketAt(path: string): string {
  try {
    return findControlSocket(path);
  } catch (error) {
    if (!(error instanceof VfioError)) throw error;
    throw new CommandError(`${error.detail} (--control: it is one)`);
  }
}

const parameters: Readonly<Partial<Record<AdminCommand, string>>> = {
  inject: " <error>",
  "hand-over": " <step> <id>",
};

function helpRows(): string[][] {
  return (Object.keys(commands) as AdminCommand[]).map((name) => [
    `  ${name}${parameters[name] ?? ""}`,
    commands[name],
  ]);
}

/** @throws UsageError */
function requestOf(command: AdminCommand, what: string | undefined, id: string | undefined): AdminRequest {
  if (command === "hand-over") {
    const step = choose<HandOverStep>(command, "step", handOverSteps, what);
    if (step === "status") return { command, step, ...(id !== undefined && { id }) };
    if (id === undefined) throw new UsageError(`${command} ${step} needs the hand-over's id`);
    return { command, step, id };
  }
  const stray = command === "inject" ? id : (what ?? id);
  if (stray !== undefined)
    throw new UsageError(
      `${[command, command === "inject" && what].filter(Boolean).join(" ")} takes nothing behind it, and there is ${stray}`,
    );
  if (command !== "inject") return { command };
  return {
    command,
    error: choose<InjectableError>(
      command,
      "error",
      Object.keys(injectableErrors) as InjectableError[],
      what,
    ),
  };
}

/** @throws UsageError */
function choose<T extends string>(
  command: AdminCommand,
  name: string,
  values: readonly T[],
  value: string | undefined,
): T {
  const known = values.find((known) => known === value);
  if (known !== undefined) return known;
  throw new UsageError(`${command} needs ${name === "error" ? "an" : "a"} ${name}: ${values.join(", ")}`);
}

function keptAwayOf({ handOver }: AdminResults["info"], socket: string): string | undefined {
  return handOver && keptAway(handOver, socket);
}

/** Of a relay, its own info; it passes everything else on to its server. */
async function relayAt(path: string, timeoutMs: number): Promise<RelayStatus | undefined> {
  using relay = await RelayClient.open(path, timeoutMs);
  return await relay?.status(timeoutMs);
}

/** @param path for messages @throws CommandError, SyscallError, VfioError */
async function ask(
  path: string,
  control: string,
  request: AdminRequest,
  timeoutMs: number,
): Promise<AdminResults[AdminCommand]> {
  using client = new AdminClient(control);
  try {
    return await client.request(request, { timeoutMs });
  } catch (error) {
    if (error instanceof VfioError && NO_CONTROL_SOCKET.has(error.code))
      throw new CommandError(`${path}: no answer of a control socket (${error.message})`);
    throw error;
  }
}
