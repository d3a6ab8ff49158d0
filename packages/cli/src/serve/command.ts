import { Command, InvalidArgumentError, Option } from "commander";
import type { DmaAccessMode } from "@vfiokit/user/linux";
import { devices, type ServedDevice } from "../devices.js";
import { logLevels } from "../shared/log-levels.js";
import type { ServeOptions } from "./serve.js";

/** `vfiokit serve DEVICE`. */
export function serveCommand(): Command {
  const serve = new Command("serve");
  for (const device of devices) serve.addCommand(deviceCommand(device));
  return serve;
}

/** Options of every vfio-user program (vfio-user: "Backend Program Conventions"), and the device's own. */
function deviceCommand(device: ServedDevice): Command {
  const command = new Command(device.name)
    .description(`Serves ${device.summary}.`)
    .option("--socket-path <path>", "listen at this path")
    .option("--fd <number>", "serve the client at this connected socket", parseFd)
    .option("--ctl-path <path>", "listen for vfiokit ctl at this path (default: the socket's path and .ctl)")
    .option("--no-ctl", "have no control socket")
    .addOption(
      new Option("--log-level <level>", "least severe message to log").choices(logLevels).default("info"),
    )
    .addOption(
      new Option(
        "--on-disconnect <what>",
        "keep the device's state for the next client, or reset it when a client comes and when it goes",
      )
        .choices(["keep", "reset"])
        .default("keep"),
    )
    .addOption(
      new Option("--idle-power <state>", "power state while no client is connected; D3cold loses the state")
        .choices(["D0", "D3hot", "D3cold"])
        .default("D0"),
    )
    .addOption(
      new Option(
        "--dma-access <how>",
        "reach the client's memory by mmap, or by pread and pwrite (file); auto maps what is sealed against shrinking",
      )
        .choices(["auto", "mmap", "file"] satisfies DmaAccessMode[])
        .default("auto"),
    )
    .addOption(
      new Option(
        "--max-faults <count>",
        "exceptions of the device's code before it answers EIO until a reset",
      )
        .argParser(parseCount)
        .default(100),
    )
    .option("--strict-unmap", "refuse a DMA_UNMAP that is not exactly one map, as vfio-user's text asks for")
    .option("--json", "print how to attach the device, as one line of JSON");
  device.configure(command);
  return command.action(async (options: ServeOptions) => {
    await (await import("./serve.js")).serve(device, options);
  });
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("must be 1 or more.");
  return Number(text);
}

function parseFd(text: string): number {
  const fd = Number(text);
  if (!/^\d+$/.test(text) || fd < 3) throw new InvalidArgumentError("must be a file descriptor, 3 or above.");
  return fd;
}
