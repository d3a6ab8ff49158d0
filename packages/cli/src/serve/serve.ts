import { resolve } from "node:path";
import { DeviceSet } from "@vfiokit/core";
import { controlPath } from "@vfiokit/user/control";
import type { OpenedDevice, ServedDevice } from "../devices.js";
import { UsageError } from "../errors.js";
import { createLog } from "../log.js";
import { err, out } from "../output.js";
import { qemuFunctions, qemuMemory, shellLine } from "../shared/attach.js";
import type { LogLevel } from "../shared/log-levels.js";
import { endSignal } from "../shared/signals.js";
import { ServedFunction, type Endpoint, type Policy } from "./served-function.js";
import { surviveFaults } from "./survive-faults.js";

export interface ServeOptions extends Policy {
  readonly socketPath?: string;
  readonly fd?: number;
  /** False: --no-ctl. */
  readonly ctl: boolean;
  readonly ctlPath?: string;
  readonly logLevel: LogLevel;
  readonly json?: true;
}

/** How long what is left to write (a file, a peer that reads slowly) may hold up the end, in milliseconds. */
const END_MS = 1000;

/** Serves the device until its client is gone, or a signal asks for the end. */
export async function serve(device: ServedDevice, options: ServeOptions): Promise<void> {
  const { socketPath, fd, ctl, ctlPath } = options;
  if ((socketPath === undefined) === (fd === undefined)) {
    throw new UsageError("give one of --socket-path and --fd");
  }
  if (!ctl && ctlPath !== undefined) throw new UsageError("give one of --ctl-path and --no-ctl");
  const endAsked = endSignal();
  const log = createLog(options.logLevel);
  const opened = await device.open({ ...options }, log);
  const count = opened.definitions.length;
  if (fd !== undefined && count > 1) throw new UsageError("--fd serves one function: give --functions 1");
  const set = new DeviceSet();
  const functions = opened.definitions.map(
    (definition, number) =>
      new ServedFunction(definition, set, endpoint(options, number, count), options, log),
  );
  const release = surviveFaults(functions.map(({ card }) => card));
  try {
    for (const one of functions) await one.listen();
    announce(device, opened, functions, options.json);
    const ended = Promise.race(functions.map((one) => one.ended)).then(() => "the client is gone");
    log.info(`ending: ${await Promise.race([endAsked, ended])}`);
  } finally {
    release();
    await Promise.all(functions.map((one) => one.close()));
    setTimeout(() => process.exit(), END_MS).unref();
  }
}

/** Several functions are at PATH.0, PATH.1 and so on. */
function endpoint({ socketPath, fd, ctl, ctlPath }: ServeOptions, number: number, count: number): Endpoint {
  const at = (path: string) => (count > 1 ? `${resolve(path)}.${number}` : resolve(path));
  const socket = socketPath === undefined ? undefined : at(socketPath);
  if (!ctl) return { socket, fd, ctl: undefined };
  if (ctlPath !== undefined) return { socket, fd, ctl: at(ctlPath) };
  return { socket, fd, ctl: socket === undefined ? undefined : controlPath(socket) };
}

/** By its name `vfiokit ctl` tells a control socket from one for vfio-user. */
function controlArguments(path: string): string[] {
  return path.endsWith(controlPath("")) ? [path] : ["--control", path];
}

/** Tells how to attach the device: on standard output, unless the guest's bytes go there. */
function announce(
  device: ServedDevice,
  opened: OpenedDevice,
  functions: readonly ServedFunction[],
  json: true | undefined,
): void {
  const say = opened.usesStdout ? err : out;
  const sockets = functions.flatMap(({ endpoint }) => endpoint.socket ?? []);
  const qemu = qemuFunctions(sockets);
  if (json) {
    const where = functions.map(({ card, endpoint: { socket, ctl } }) => ({ name: card.name, socket, ctl }));
    const { socket, ctl } = where[0]!;
    const report = {
      device: device.name,
      pid: process.pid,
      ...(where.length > 1 ? { functions: where } : { socket, ctl }),
      ...opened.json,
      qemu: sockets.length === 0 ? undefined : [...qemuMemory, ...qemu.flat()],
    };
    say.json(report);
    return;
  }
  const { style } = say;
  const [first] = functions as readonly [ServedFunction];
  const { socket } = first.endpoint;
  const lines = [
    ...functions.map(
      ({ card, endpoint: { socket } }) =>
        `${style.bold(card.name)} ${socket === undefined ? "on the given socket" : `at ${socket}`}`,
    ),
    ...Object.entries(opened.ends).map(([name, where]) => `  ${style.dim(name)}  ${where}`),
  ];
  if (socket !== undefined) {
    lines.push(
      "",
      "Options for QEMU 10.1 or newer:",
      ...[qemuMemory, ...qemu].map((words, at) => {
        const more = at < qemu.length ? " \\" : "";
        return `  ${style.cyan(shellLine(words))}${more}`;
      }),
      `To look at it: ${style.cyan(shellLine(["vfiokit", "info", socket]))}`,
    );
  }
  const { ctl } = first.endpoint;
  if (ctl !== undefined) {
    const target = socket !== undefined && ctl === controlPath(socket) ? [socket] : controlArguments(ctl);
    lines.push(`To administer it: ${style.cyan(shellLine(["vfiokit", "ctl", ...target, "info"]))}`);
  }
  if (socket !== undefined) lines.push("");
  say.lines(lines);
}
