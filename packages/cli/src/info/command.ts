import { resolve } from "node:path";
import { Command } from "commander";
import { timeoutOption } from "../shared/timeout.js";
import { Style } from "../style.js";
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
      const lines = json ? [JSON.stringify(report, null, 2)] : formatReport(report, Style.of(process.stdout));
      process.stdout.write(`${lines.join("\n")}\n`);
    });
}
