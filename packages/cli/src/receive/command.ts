import { basename, resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import {
  isDeviceName,
  localDevice,
  parseRemoteUrl,
  Receiver,
  type ReceiverEvent,
  type RemoteAddress,
} from "@vfiokit/user";
import { VfioError } from "@vfiokit/core";
import { CommandError, UsageError } from "../errors.js";
import { out, printableJson, shown } from "../output.js";
import { endSignal } from "../shared/signals.js";
import { LogSink } from "../log-sink.js";
import { parseTime } from "../shared/units.js";
import { addTlsOptions, remoteSecurity, type TlsOptions } from "../shared/tls-options.js";

interface ReceiveOptions extends TlsOptions {
  readonly listen: RemoteAddress;
  readonly to: ReadonlyMap<string, string>;
  readonly allow?: readonly string[];
  /** Milliseconds. */
  readonly resumeWindow: number;
  readonly json?: true;
}

const STDOUT = 1;

/** `vfiokit receive`. */
export function receiveCommand(): Command {
  const command = new Command("receive")
    .addOption(
      new Option("--listen <url>", "address to listen on: tls://host:port; port 0 picks a free port")
        .argParser(parseListen)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--to <name=socket>", "a device: its name for migration clients, and its socket; repeatable")
        .argParser(parseTo)
        .makeOptionMandatory(),
    );
  return addTlsOptions(command)
    .addOption(
      new Option(
        "--allow <name>",
        "accept only clients whose certificate has this name; repeatable",
      ).argParser((name: string, before?: readonly string[]) => [...(before ?? []), name]),
    )
    .addOption(
      new Option("--resume-window <time>", "how long a broken connection can be resumed")
        .argParser(parseTime("s"))
        .default(30_000, "30s"),
    )
    .option("--json", "print events as lines of JSON")
    .addHelpText("after", help)
    .action(receive);
}

const help = `
A migration client names a device by tls://host:port/NAME; where there is only one, tls://host:port is enough. --to SOCKET
without a name takes the name from the file: card for /run/card.sock.

SIGTERM ends it: what is being loaded is discarded, what is prepared stays so, and
"vfiokit migrate --recover FROM TO" decides then which side runs.`;

function parseListen(text: string): RemoteAddress {
  const address = asArgument(() => parseRemoteUrl(text));
  if (address.device !== "") throw new InvalidArgumentError("names a device: --to does that.");
  return address;
}

function parseTo(text: string, before?: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const [, named, path = text] = /^([\w.-]+)=(.+)$/.exec(text) ?? [];
  const name = named ?? basename(path).replace(/\.sock(et)?$/, "");
  if (!isDeviceName(name))
    throw new InvalidArgumentError("write NAME=SOCKET, NAME of letters, digits and _.-");
  if (before?.has(name)) throw new InvalidArgumentError(`there is a device ${name} already.`);
  return new Map([...(before ?? []), [name, resolve(path)]]);
}

function asArgument<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof VfioError) throw new InvalidArgumentError(error.detail);
    throw error;
  }
}

async function receive(options: ReceiveOptions): Promise<void> {
  const { listen, to, allow, resumeWindow, json } = options;
  if (options.insecureLoopback && allow)
    throw new UsageError("--allow needs certificates, and there are none");
  const endAsked = endSignal();
  const receiver = new Receiver({
    host: listen.host,
    port: listen.port,
    security: remoteSecurity(options),
    allow,
    devices: new Map([...to].map(([name, path]) => [name, localDevice(path)])),
    resumeWindow_ms: resumeWindow,
    onEvent: printer(json === true),
  });
  try {
    await receiver.listen();
  } catch (error) {
    throw asListenError(error, options);
  }
  await endAsked;
  await receiver.close();
}

/** EADDRINUSE and the like, which Node throws as plain errors. */
function asListenError(error: unknown, { listen }: ReceiveOptions): unknown {
  if (error instanceof VfioError || !(error instanceof Error)) return error;
  return new CommandError(`${listen.host} port ${listen.port}: ${error.message}`);
}

/** Prints events; a standard output that nobody reads must not hold up the migrations. */
function printer(json: boolean): (event: ReceiverEvent) => void {
  const form = json ? jsonOf : textOf;
  const sink = new LogSink(STDOUT, (dropped) => {
    const message = `${dropped} events were not printed: nobody read standard output`;
    return form({ event: "dropped", level: "warn", message });
  });
  return (event) => sink.write(form(event));
}

type PrintedEvent = Omit<ReceiverEvent, "event"> & { readonly event: ReceiverEvent["event"] | "dropped" };

function jsonOf({ level: _level, ...event }: PrintedEvent): string {
  return `${printableJson(JSON.stringify(event))}\n`;
}

function textOf({ level, device, message }: PrintedEvent): string {
  const { style } = out;
  const colour = level === "error" ? style.red : level === "warn" ? style.yellow : (text: string) => text;
  const where = device === undefined ? "" : `${style.bold(device)}: `;
  return `${shown(`${where}${colour(message)}`).replaceAll("\n", "\\n")}\n`;
}
