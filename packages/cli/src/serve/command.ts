import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { VfioUserServer } from "@vfiokit/user";
import { memfdMemory } from "@vfiokit/user/linux";
import { devices, type OpenedDevice, type ServedDevice } from "../devices.js";
import { UsageError } from "../errors.js";
import { createLog, logLevels, type LogLevel } from "../log.js";
import { Style } from "../style.js";
import { qemuDevice, qemuMemory, shellLine } from "./attach.js";
import { endSignal } from "./signals.js";

interface ServeOptions {
  readonly socketPath?: string;
  readonly fd?: number;
  readonly logLevel: LogLevel;
  readonly json?: true;
}

/** How long what is left to write (a file, a peer that reads slowly) may hold up the end, in milliseconds. */
const END_MS = 1000;

/** `vfiokit serve DEVICE`. */
export function serveCommand(): Command {
  const serve = new Command("serve").description("Serves a device to vfio-user clients such as QEMU.");
  for (const device of devices) serve.addCommand(deviceCommand(device));
  return serve;
}

/** Options of every vfio-user program (vfio-user: "Backend Program Conventions"), and the device's own. */
function deviceCommand(device: ServedDevice): Command {
  const command = new Command(device.name)
    .description(`Serves ${device.summary}.`)
    .option("--socket-path <path>", "listen at this path")
    .option("--fd <number>", "serve the client at this connected socket", parseFd)
    .addOption(
      new Option("--log-level <level>", "least severe message to log").choices(logLevels).default("info"),
    )
    .option("--json", "print how to attach the device as one line of JSON");
  device.configure(command);
  return command.action((options: ServeOptions) => serve(device, options));
}

function parseFd(text: string): number {
  const fd = Number(text);
  if (!/^\d+$/.test(text) || fd < 3) throw new InvalidArgumentError("must be a file descriptor, 3 or above.");
  return fd;
}

async function serve(device: ServedDevice, options: ServeOptions): Promise<void> {
  const { socketPath, fd } = options;
  if ((socketPath === undefined) === (fd === undefined)) {
    throw new UsageError("give one of --socket-path and --fd");
  }
  const endAsked = endSignal();
  const log = createLog(options.logLevel);
  const opened = await device.open({ ...options }, log);
  const card = new PciDevice(opened.definition, { memory: memfdMemory });
  const task = new Task("serve");
  const server = new VfioUserServer(card, {
    ...(fd === undefined ? { socketPath: resolve(socketPath!) } : { fd }),
    log: (level, message) => log[level](message),
  });
  try {
    await server.listen();
    announce(device, opened, options);
    const why = await Promise.race([endAsked, server.ended.then(() => "the client is gone")]);
    log.info(`ending: ${why}`);
  } finally {
    await server.close();
    await card.close(task);
    setTimeout(() => process.exit(), END_MS).unref();
  }
}

/** Tells how to attach the device: on standard output, unless the guest's bytes go there. */
function announce(device: ServedDevice, opened: OpenedDevice, { socketPath, json }: ServeOptions): void {
  const out = opened.usesStdout ? process.stderr : process.stdout;
  const path = socketPath === undefined ? undefined : resolve(socketPath);
  if (json) {
    const qemu = path === undefined ? undefined : [...qemuMemory, ...qemuDevice(path)];
    out.write(
      `${JSON.stringify({ device: device.name, pid: process.pid, socket: path, ...opened.json, qemu })}\n`,
    );
    return;
  }
  const style = Style.of(out);
  const lines = [
    `${style.bold(device.name)} ${path === undefined ? "on the given socket" : `at ${path}`}`,
    ...Object.entries(opened.ends).map(([name, where]) => `  ${style.dim(name)}  ${where}`),
  ];
  if (path !== undefined) {
    lines.push(
      "",
      "Options for QEMU 10.1 or newer:",
      `  ${style.cyan(shellLine(qemuMemory))} \\`,
      `  ${style.cyan(shellLine(qemuDevice(path)))}`,
      `To look at it: ${style.cyan(shellLine(["vfiokit", "info", path]))}`,
      "",
    );
  }
  out.write(`${lines.join("\n")}\n`);
}
