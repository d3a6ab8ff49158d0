import { resolve } from "node:path";
import { Command, Option } from "commander";
import { Relay, RelayControl } from "@vfiokit/user";
import { controlPath } from "../ctl/path.js";
import { createLog, logLevels, type LogLevel } from "../log.js";
import { qemuDevice, shellLine } from "../serve/attach.js";
import { endSignal } from "../serve/signals.js";
import { Style } from "../style.js";

interface RelayCommandOptions {
  readonly listen: string;
  readonly connect: string;
  readonly logLevel: LogLevel;
  readonly json?: true;
}

/** `vfiokit relay`. */
export function relayCommand(): Command {
  return new Command("relay")
    .description(
      "Stands between a client that cannot migrate (QEMU) and its server, which then can be moved.",
    )
    .requiredOption("--listen <path>", "where the client connects")
    .requiredOption("--connect <path>", "the server's socket")
    .addOption(
      new Option("--log-level <level>", "least severe message to log").choices(logLevels).default("info"),
    )
    .option("--json", "print how to attach the device as one line of JSON")
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

function announce(listen: string, server: string, json: true | undefined): void {
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ pid: process.pid, socket: listen, ctl: controlPath(listen), server, qemu: qemuDevice(listen) })}\n`,
    );
    return;
  }
  const style = Style.of(process.stdout);
  const lines = [
    `${style.bold("relay")} at ${listen}`,
    `  ${style.dim("server")}  ${server}`,
    "",
    "Option for QEMU 10.1 or newer:",
    `  ${style.cyan(shellLine(qemuDevice(listen)))}`,
    `To move the device: ${style.cyan(shellLine(["vfiokit", "migrate", listen, "TO"]))}`,
    "",
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
