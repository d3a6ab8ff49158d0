import { resolve } from "node:path";
import { Command } from "commander";
import { out } from "../output.js";
import { formatReport } from "./format.js";
import { inspect } from "./inspect.js";

/** `vfiokit info SOCKET`: lspci -vv for a vfio-user server. */
export function infoCommand(): Command {
  return new Command("info")
    .argument("<socket>", "path of the server's socket")
    .option("--json", "print everything as JSON")
    .action(async (socket: string, { json }: { json?: true }) => {
      const report = await inspect(resolve(socket));
      if (json) out.json(report, 2);
      else out.lines(formatReport(report, out.style));
    });
}
