import { readFileSync, writeFileSync } from "node:fs";
import { VfioError } from "@vfiokit/core";
import { asVfioError } from "../socket/index.js";
import { isBridge, isVfio, Sysfs, type PciFunctionState } from "./sysfs.js";

/** How a function is given to another driver. */
export interface BindOptions {
  readonly sysfs?: Sysfs;
  /** Who takes it. Default "vfio-pci". */
  readonly driver?: string;
  /** Says what would be done, and does nothing. */
  readonly dryRun?: boolean;
  /** Also while it is in use. */
  readonly force?: boolean;
  /** Where proc is mounted: what is mounted, and where is swapped to. Default "/proc". */
  readonly proc?: string;
}

/** What was done, or would be. */
export interface BindResult {
  readonly address: string;
  /** Undefined: none. */
  readonly from: string | undefined;
  /** Undefined: whichever the kernel finds. */
  readonly to: string | undefined;
  /** Writes to sysfs, in order; none: it was so already. */
  readonly steps: readonly { readonly file: string; readonly value: string }[];
  /** Other functions of its group that a driver other than VFIO's has: the group cannot be used until it lets go. */
  readonly others: readonly PciFunctionState[];
}

/**
 * Gives a PCI function to vfio-pci, or to another driver of VFIO's.
 * @throws VfioError EBUSY: it is in use, as the message says; ENODEV: no such function, no IOMMU, no such driver; EACCES
 */
export function bindFunction(address: string, options: BindOptions = {}): BindResult {
  const { sysfs = new Sysfs(), driver = "vfio-pci", force = false, proc = "/proc" } = options;
  const found = find(address, sysfs);
  if (found.driver === driver) return result(found, driver, [], sysfs);
  if (isBridge(found))
    throw new VfioError("EINVAL", `${address}: it is a bridge, which is given away with what is behind it`);
  if (found.group === undefined)
    throw new VfioError(
      "ENODEV",
      `${address}: it is in no IOMMU group: switch the IOMMU on (intel_iommu=on)`,
    );
  if (!sysfs.hasDriver(driver))
    throw new VfioError("ENODEV", `${address}: the kernel has no driver ${driver}: modprobe ${driver}`);
  const uses = usesOf(address, sysfs, proc);
  if (uses.length > 0 && !force)
    throw new VfioError(
      "EBUSY",
      `${address}: it is in use: ${uses.join(", ")}. --force does it all the same`,
    );
  return rebind(found, driver, sysfs, options);
}

/** Gives a PCI function back to the driver that the kernel has for it. @throws VfioError as `bindFunction` */
export function unbindFunction(
  address: string,
  options: Omit<BindOptions, "driver" | "force"> = {},
): BindResult {
  const { sysfs = new Sysfs() } = options;
  const found = find(address, sysfs);
  if (found.driver !== undefined && !isVfio(found))
    throw new VfioError("EINVAL", `${address}: ${found.driver} has it, which is no driver of VFIO's`);
  return rebind(found, undefined, sysfs, options);
}

function find(address: string, sysfs: Sysfs): PciFunctionState {
  const found = sysfs.function(address);
  if (!found)
    throw new VfioError("ENODEV", `${address}: there is no such PCI function (${sysfs.folder(address)})`);
  return found;
}

/** driver_override first, so that no other driver takes it in between. */
function rebind(
  found: PciFunctionState,
  driver: string | undefined,
  sysfs: Sysfs,
  { dryRun = false }: BindOptions,
): BindResult {
  const { address } = found;
  const folder = sysfs.folder(address);
  const steps = [
    { file: `${folder}/driver_override`, value: driver ?? "" },
    ...(found.driver === undefined ? [] : [{ file: `${folder}/driver/unbind`, value: address }]),
    { file: sysfs.path("bus/pci/drivers_probe"), value: address },
  ];
  if (!dryRun) {
    for (const { file, value } of steps) write(file, `${value}\n`);
    const now = sysfs.function(address)?.driver;
    if (driver !== undefined && now !== driver)
      throw new VfioError(
        "EIO",
        `${address}: ${driver} did not take it, ${now ?? "no driver"} has it: see dmesg`,
      );
  }
  return result(found, driver, steps, sysfs);
}

function result(
  found: PciFunctionState,
  to: string | undefined,
  steps: BindResult["steps"],
  sysfs: Sysfs,
): BindResult {
  const { address, driver: from, group } = found;
  const strangers = group === undefined ? [] : sysfs.strangers(group);
  const others = strangers.filter((one) => one.address !== address);
  return { address, from, to, steps, others };
}

function write(file: string, value: string): void {
  try {
    writeFileSync(file, value);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EACCES" || code === "EPERM" ? "only root may" : (error as Error).message;
    throw new VfioError(
      asVfioError(error).code,
      `write of ${JSON.stringify(value.trim())} to ${file}: ${why}`,
    );
  }
}

/** What a machine would miss: mounted file systems, swap, what is built on its disks, links that are up. */
function usesOf(address: string, sysfs: Sysfs, proc: string): string[] {
  const links = sysfs
    .ofClass("net", address)
    .filter((name) => sysfs.attribute("class/net", name, "operstate") === "up")
    .map((name) => `the network link ${name} is up`);
  const mounts = lines(`${proc}/self/mountinfo`).map((line) => line.split(" "));
  const swaps = lines(`${proc}/swaps`).map((line) => line.split(/\s+/)[0]!);
  const disks = sysfs.ofClass("block", address).flatMap((name) => {
    const number = sysfs.attribute("class/block", name, "dev");
    const mount = mounts.find((fields) => fields[2] === number || mountSource(fields) === `/dev/${name}`);
    return [
      ...(mount ? [`${name} is mounted at ${mount[4]!}`] : []),
      ...(swaps.includes(`/dev/${name}`) ? [`${name} is swapped to`] : []),
      ...sysfs.entries("class/block", name, "holders").map((holder) => `${holder} is made of ${name}`),
    ];
  });
  return [...links, ...disks];
}

/** proc_pid_mountinfo(5): after the separator, the file system's type and its source. */
const mountSource = (fields: readonly string[]): string | undefined => fields[fields.indexOf("-") + 2];

function lines(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}
