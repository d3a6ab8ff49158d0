import { formatDescription } from "@vfiokit/core/pci";
import { bytes, table } from "../shared/tables.js";
import type { Style } from "../style.js";
import type {
  DeviceReport,
  FeatureReport,
  IrqReport,
  Limits,
  MigrationReport,
  RegionReport,
} from "./report.js";

/** The report as `lspci -vv` would print it, with what only vfio-user has after it. */
export function formatReport(report: DeviceReport, style: Style): string[] {
  const { config } = report;
  const sections: [string, string[]][] = [
    ["Regions", table(report.regions.map(regionRow))],
    ["Interrupts", table(report.irqs.map(irqRow))],
    ["Features", table(report.features.map(featureRow))],
    ["Migration", report.migration ? table(migrationRows(report.migration)) : []],
    ["Limits", report.limits ? table(limitRows(report.limits)) : []],
  ];
  return [
    style.bold(titleOf(report)) + style.dim(report.device.reset ? " (can be reset)" : " (cannot be reset)"),
    "",
    ...(config ? formatDescription(config) : ["Not a PCI device"]),
    ...sections
      .filter(([, lines]) => lines.length > 0)
      .flatMap(([title, lines]) => ["", style.bold(title), ...lines.map((line) => `\t${line}`)]),
  ];
}

function titleOf({ socket, protocol, address, kernel }: DeviceReport): string {
  return kernel ? `VFIO (${kernel.iommu}) at ${address!}` : `vfio-user ${protocol!} at ${socket!}`;
}

function regionRow({ index, name, size, read, write, mmap, areas }: RegionReport): string[] {
  const access = [read && "read", write && "write", mmap && "mmap"].filter(Boolean).join(" ");
  const mapped = areas?.map((area) => `${bytes(area.size)} at 0x${area.offset.toString(16)}`).join(", ");
  return [`${index}`, name, bytes(size), access, mapped === undefined ? "" : `(${mapped})`];
}

function irqRow({ index, name, count, eventfd, maskable, automasked, noresize }: IrqReport): string[] {
  const flags = [
    eventfd && "eventfd",
    maskable && "maskable",
    automasked && "automasked",
    noresize && "noresize",
  ];
  return [`${index}`, name, `${count}`, flags.filter(Boolean).join(" ")];
}

function featureRow({ name, get, set }: FeatureReport): string[] {
  return [name, [get && "get", set && "set"].filter(Boolean).join(" ")];
}

function migrationRows({ stopCopy, p2p, preCopy, state, size }: MigrationReport): string[][] {
  const kinds = [stopCopy && "stop-copy", p2p && "p2p", preCopy && "pre-copy"].filter(Boolean).join(" ");
  return [["kinds", kinds], ["state", state], ...(size === undefined ? [] : [["image", bytes(size)]])];
}

function limitRows(limits: Limits): string[][] {
  return [
    ["descriptors in a message", `${limits.maxMsgFds}`],
    ["bytes in a transfer", bytes(limits.maxDataXferSize)],
    ["DMA maps", `${limits.maxDmaMaps}`],
    ["page sizes of DMA maps", pageSizes(limits.pgsizes)],
    ["socket for the server's commands", limits.twinSocket ? "yes" : "no"],
    ["several writes in a message", limits.writeMultiple ? "yes" : "no"],
  ];
}

function pageSizes(mask: number): string {
  const sizes: string[] = [];
  for (let size = 1; size <= mask; size *= 2) if (Math.floor(mask / size) % 2 === 1) sizes.push(bytes(size));
  return sizes.join(", ");
}
