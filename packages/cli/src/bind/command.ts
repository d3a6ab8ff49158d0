import { Command, Option } from "commander";
import { bindFunction, parsePciAddress, Sysfs, unbindFunction, type BindResult } from "@vfiokit/user/kernel";
import { err, out } from "../output.js";
import { sysfsOption } from "../shared/sysfs.js";

interface BindCommandOptions {
  readonly driver: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly json?: true;
  readonly sysfs: string;
}

/** `vfiokit bind ADDRESS`. */
export function bindCommand(): Command {
  return shared("bind")
    .addOption(new Option("--driver <name>", "another driver of VFIO's").default("vfio-pci"))
    .option("--force", "also while it is in use: a mounted disk, a network link that is up")
    .action((text: string, { driver, dryRun = false, force = false, json, sysfs }: BindCommandOptions) => {
      const options = { sysfs: new Sysfs(sysfs), driver, dryRun, force };
      print(bindFunction(parsePciAddress(text), options), dryRun, json);
    });
}

/** `vfiokit unbind ADDRESS`. */
export function unbindCommand(): Command {
  return shared("unbind").action((text: string, { dryRun = false, json, sysfs }: BindCommandOptions) =>
    print(unbindFunction(parsePciAddress(text), { sysfs: new Sysfs(sysfs), dryRun }), dryRun, json),
  );
}

function shared(name: string): Command {
  return new Command(name)
    .argument("<address>", "the PCI function: 0000:01:00.0, or 01:00.0")
    .option("--dry-run", "only say what would be written to sysfs")
    .option("--json", "print the result as one line of JSON")
    .addOption(sysfsOption());
}

function print(result: BindResult, dryRun: boolean, json?: true): void {
  const { address, from = "no driver", steps, others } = result;
  const to = result.to ?? "whichever driver the kernel has for it";
  if (json) out.json({ ...result, dryRun });
  else if (steps.length === 0) out.line(`${address}: ${to} has it already`);
  else if (dryRun) out.lines(steps.map(({ file, value }) => `echo ${value || '""'} >${file}`));
  else out.line(`${address}: from ${from} to ${to}`);
  for (const other of others)
    err.line(
      `${other.address} is in its group, and ${other.driver!} has it: the group cannot be used before it lets go`,
    );
}
