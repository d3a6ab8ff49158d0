import { Command } from "commander";
import { out } from "../output.js";
import { DEVICE_HELP, deviceName } from "../shared/device-name.js";
import { timeoutOption } from "../shared/timeout.js";
import { formatReport } from "./format.js";
import { inspect } from "./inspect.js";

/** `vfiokit info DEVICE`: lspci -vv for a vfio-user server, or a device of the kernel's VFIO. */
export function infoCommand(): Command {
  return new Command("info")
    .argument("<device>", DEVICE_HELP)
    .addOption(timeoutOption())
    .option("--json", "print everything as JSON")
    .action(async (device: string, { json, timeout }: { json?: true; timeout: number }) => {
      const report = await inspect(deviceName(device), timeout);
      if (json) out.json(report, 2);
      else out.lines(formatReport(report, out.style));
    });
}
