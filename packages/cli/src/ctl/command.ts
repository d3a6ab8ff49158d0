import { resolve } from "node:path";
import { Argument, Command } from "commander";
import { VfioError, injectableErrors, type InjectableError } from "@vfiokit/core";
import { AdminClient, type AdminCommand, type AdminRequest, type AdminResults } from "@vfiokit/user";
import { CommandError, UsageError } from "../errors.js";
import { Style } from "../style.js";
import { table } from "../text.js";
import { formatResult } from "./format.js";
import { findControlSocket } from "./path.js";

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
};

/** What a program that is no control socket answers, or a server that has just gone. */
const NO_CONTROL_SOCKET: ReadonlySet<string> = new Set(["EPROTO", "ECONNRESET", "EPIPE", "EMSGSIZE"]);

/** `vfiokit ctl SOCKET COMMAND`. */
export function ctlCommand(): Command {
  return new Command("ctl")
    .description("Administers a device that vfiokit serve serves.")
    .argument("<socket>", "path of the device's socket, or of its control socket")
    .addArgument(new Argument("<command>", "what to do").choices(Object.keys(commands)))
    .addArgument(new Argument("[error]", "of inject").choices(Object.keys(injectableErrors)))
    .option("--json", "print the result as one line of JSON")
    .addHelpText("after", () => ["", "Commands:", ...table(helpRows()), ""].join("\n"))
    .action(
      async (
        socket: string,
        command: AdminCommand,
        error: InjectableError | undefined,
        { json }: Options,
      ) => {
        const request = requestOf(command, error);
        const result = await ask(resolve(socket), request);
        const lines = json
          ? [JSON.stringify(result)]
          : formatResult(request.command, result, Style.of(process.stdout));
        process.stdout.write(`${lines.join("\n")}\n`);
      },
    );
}

interface Options {
  readonly json?: true;
}

function helpRows(): string[][] {
  return Object.entries(commands).map(([name, summary]) => [
    `  ${name}${name === "inject" ? " <error>" : ""}`,
    summary,
  ]);
}

/** @throws UsageError */
function requestOf(command: AdminCommand, error: InjectableError | undefined): AdminRequest {
  if (command === "inject") {
    if (error) return { command, error };
    throw new UsageError(`inject needs an error: ${Object.keys(injectableErrors).join(", ")}`);
  }
  if (error) throw new UsageError(`${command} takes nothing behind it, and there is ${error}`);
  return { command };
}

/** @throws CommandError, SyscallError, VfioError */
async function ask(path: string, request: AdminRequest): Promise<AdminResults[AdminCommand]> {
  using client = new AdminClient(findControlSocket(path));
  try {
    return await client.request(request);
  } catch (error) {
    if (error instanceof VfioError && NO_CONTROL_SOCKET.has(error.code))
      throw new CommandError(`${path}: no answer of a control socket (${error.message})`);
    throw error;
  }
}
