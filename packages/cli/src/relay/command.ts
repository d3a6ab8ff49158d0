import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { Command, Option } from "commander";
import { controlPath, Relay, RelayControl, type OnLoss } from "@vfiokit/user";
import { createLog, type Logger } from "../log.js";
import { logLevels, type LogLevel } from "../shared/log-levels.js";
import { out } from "../output.js";
import { qemuDevice, shellLine } from "../shared/attach.js";
import { endSignal } from "../shared/signals.js";
import { parseTime } from "../shared/units.js";

interface RelayCommandOptions {
  readonly listen: string;
  readonly connect: string;
  readonly next?: string;
  readonly serverCommand?: string;
  /** Milliseconds, as the next two. */
  readonly timeout: number;
  readonly replyWithin: number;
  readonly snapshotEvery?: number;
  readonly onLoss: OnLoss;
  readonly logLevel: LogLevel;
  readonly json?: true;
}

/** `vfiokit relay`. */
export function relayCommand(): Command {
  return new Command("relay")
    .requiredOption("--listen <path>", "socket that the client connects to")
    .requiredOption("--connect <path>", "the server's socket")
    .option("--next <path>", "socket of a replacement server, used when the first one has gone")
    .option(
      "--server-command <command>",
      "command that starts a server at the same path when the first one has gone",
    )
    .addOption(
      new Option("--timeout <time>", "how long to keep a client without a server")
        .argParser(parseTime("s", "above 0"))
        .default(30_000, "30s"),
    )
    .addOption(
      new Option("--reply-within <time>", "fail requests that have waited this long for a server")
        .argParser(parseTime("s", "above 0"))
        .default(4000, "4s"),
    )
    .addOption(
      new Option(
        "--snapshot-every <time>",
        "save the device's state this often, for the next server",
      ).argParser(parseTime("s", "above 0")),
    )
    .addOption(
      new Option("--on-loss <what>", "what the guest sees when a server's state was lost")
        .choices(["error", "reset", "none"])
        .default("error"),
    )
    .addOption(
      new Option("--log-level <level>", "least severe message to log").choices(logLevels).default("info"),
    )
    .option("--json", "print how to attach the device, as one line of JSON")
    .action((options: RelayCommandOptions) => relay(options));
}

async function relay(options: RelayCommandOptions): Promise<void> {
  const endAsked = endSignal();
  const log = createLog(options.logLevel);
  const listen = resolve(options.listen);
  const server = resolve(options.connect);
  const one = new Relay({
    listenPath: listen,
    serverPath: server,
    log: (level, message) => log[level](message),
    timeout: options.timeout,
    replyLimit: options.replyWithin,
    onLoss: options.onLoss,
    ...(options.next !== undefined && { nextPath: resolve(options.next) }),
    ...(options.snapshotEvery !== undefined && { snapshotEvery: options.snapshotEvery }),
    ...(options.serverCommand !== undefined && { startServer: starter(options.serverCommand, log) }),
  });
  const control = new RelayControl(one, controlPath(listen));
  try {
    one.listen();
    control.listen();
    announce(listen, server, options.json);
    log.info(`ending: ${await endAsked}`);
  } finally {
    await control.close();
    await one.close();
  }
}

/** Runs a shell command, which becomes a server that outlives the relay. */
function starter(command: string, log: Logger): () => void {
  return () => {
    log.info(`starting ${command}`);
    // The server is not npm's, even where the relay is.
    const { npm_lifecycle_event: _, ...env } = process.env;
    const server = spawn(command, { shell: true, detached: true, stdio: ["ignore", 2, 2], env });
    server.on("error", (error) => log.error(`${command}: ${error.message}`));
    server.unref();
  };
}

function announce(listen: string, server: string, json: true | undefined): void {
  if (json) {
    const ctl = controlPath(listen);
    out.json({ pid: process.pid, socket: listen, ctl, server, qemu: qemuDevice(listen) });
    return;
  }
  const { style } = out;
  const lines = [
    `${style.bold("relay")} at ${listen}`,
    `  ${style.dim("server")}  ${server}`,
    "",
    "Option for QEMU 10.1 or newer:",
    `  ${style.cyan(shellLine(qemuDevice(listen)))}`,
    `To move the device: ${style.cyan(shellLine(["vfiokit", "migrate", listen, "TO"]))}`,
    "",
  ];
  out.lines(lines);
}
