import { Command } from "commander";
import { isBridge, Sysfs, type MdevState, type PciFunctionState } from "@vfiokit/user/kernel";
import { out } from "../output.js";
import { sysfsOption } from "../shared/sysfs.js";
import { table } from "../shared/tables.js";

interface ListOptions {
  readonly all?: true;
  readonly json?: true;
  readonly sysfs: string;
}

/** `vfiokit list`. */
export function listCommand(): Command {
  return new Command("list")
    .option("--all", "bridges, too")
    .option("--json", "print everything as JSON")
    .addOption(sysfsOption())
    .action(({ all, json, sysfs: root }: ListOptions) => {
      const sysfs = new Sysfs(root);
      const functions = sysfs.functions().filter((one) => all ?? !isBridge(one));
      const mdevs = sysfs.mdevs();
      // Every group that a device has, whether or not its IOMMU does anything.
      const iommu = functions.some(({ group }) => group !== undefined);
      const members = (group: string | undefined) => (group === undefined ? [] : sysfs.members(group));
      if (json) {
        const withMembers = functions.map((one) => ({ ...one, members: members(one.group) }));
        out.json({ iommu, functions: withMembers, mdevs }, 2);
        return;
      }
      out.lines(
        table([HEAD, ...functions.map((one) => row(one, members(one.group))), ...mdevs.map(mdevRow)]),
      );
      if (!iommu)
        out.line("No IOMMU: it is off (intel_iommu=on, or the firmware's VT-d or AMD-Vi), or there is none.");
    });
}

const HEAD = ["DEVICE", "ID", "CLASS", "DRIVER", "GROUP", "GROUP'S OTHERS"];
const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

function row(
  { address, vendor, device, classCode, driver, group, vfio }: PciFunctionState,
  members: readonly string[],
): string[] {
  const name = vfio === undefined ? address : `vfio:${address}`;
  const others = members.filter((one) => one !== address).join(" ");
  const id = `${hex(vendor, 4)}:${hex(device, 4)}`;
  return [name, id, hex(classCode >> 8, 4), driver ?? "-", group ?? "-", others];
}

function mdevRow({ uuid, driver, group }: MdevState): string[] {
  return [`mdev:${uuid}`, "", "", driver ?? "-", group ?? "-", ""];
}
