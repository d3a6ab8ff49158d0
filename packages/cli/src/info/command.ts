import { resolve } from "node:path";
import { Command } from "commander";
import { out } from "../output.js";
import { timeoutOption } from "../shared/timeout.js";
import { formatReport } from "./format.js";
import { inspect } from "./inspect.js";

/** `vfiokit info SOCKET`: lspci -vv for a vfio-user server. */
export function infoCommand(): Command {
  return new Command("info")
    .argument("<socket>", "path of the server's socket")
    .addOption(timeoutOption())
    .option("--json", "print everything as JSON")
    .action(async (socket: string, { json, timeout }: { json?: true; timeout: number }) => {
      const report = await inspect(resolve(socket), 1000 * timeout);
      if (json) out.json(report, 2);
      else out.lines(formatReport(report, out.style));
    });
}
