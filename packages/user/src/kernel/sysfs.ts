import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";

/** A PCI function, as the kernel knows it. */
export interface PciFunctionState {
  /** "0000:01:00.0" */
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly classCode: number;
  /** Undefined: none. */
  readonly driver: string | undefined;
  /** Its IOMMU group. Undefined: there is no IOMMU in front of it, or it is off. */
  readonly group: string | undefined;
  /** Its name below /dev/vfio/devices, where a driver of VFIO has it: "vfio0". */
  readonly vfio: string | undefined;
}

/** A mediated device. */
export interface MdevState {
  readonly uuid: string;
  readonly driver: string | undefined;
  readonly group: string | undefined;
  readonly vfio: string | undefined;
}

/** A driver of VFIO has the function: vfio-pci or another; what they have bound has a node. */
export const isVfio = ({ driver, vfio }: PciFunctionState): boolean =>
  vfio !== undefined || /vfio/.test(driver ?? "");

/** PCI Code and ID Assignment: bridges, of all kinds, which are given away with what is behind them. */
export const isBridge = ({ classCode }: PciFunctionState): boolean => classCode >> 16 === 0x06;

/** What the kernel's drivers know of devices: the tree of sysfs. */
export class Sysfs {
  /** @param root where it is mounted */
  constructor(readonly root = "/sys") {}

  functions(): PciFunctionState[] {
    return this.entries("bus/pci/devices").map((address) => this.#pci(address));
  }

  /** Undefined: there is no such function. */
  function(address: string): PciFunctionState | undefined {
    return existsSync(this.folder(address)) ? this.#pci(address) : undefined;
  }

  mdevs(): MdevState[] {
    return this.entries("bus/mdev/devices").map((uuid) => this.#mdev(uuid));
  }

  mdev(uuid: string): MdevState | undefined {
    return existsSync(this.path("bus/mdev/devices", uuid)) ? this.#mdev(uuid) : undefined;
  }

  /** The devices of an IOMMU group: given away together, or not at all. */
  members(group: string): string[] {
    return this.entries("kernel/iommu_groups", group, "devices");
  }

  /** The functions of an IOMMU group that other drivers than VFIO's have: the group cannot be used until they let go. */
  strangers(group: string): PciFunctionState[] {
    return this.members(group)
      .flatMap((name) => this.function(name) ?? [])
      .filter((one) => one.driver !== undefined && !isVfio(one));
  }

  hasDriver(name: string): boolean {
    return existsSync(this.path("bus/pci/drivers", name));
  }

  /** The folder of a PCI function. */
  folder(address: string): string {
    return this.path("bus/pci/devices", address);
  }

  path(...names: string[]): string {
    return join(this.root, ...names);
  }

  /** The entries of a class ("net", "block") that belong to a PCI function. */
  ofClass(name: string, address: string): string[] {
    const folder = `${realpathSync(this.folder(address))}/`;
    return this.entries("class", name).filter((entry) =>
      real(this.path("class", name, entry))?.startsWith(folder),
    );
  }

  /** The names in a folder; none if it does not exist. */
  entries(...names: string[]): string[] {
    return entries(this.path(...names));
  }

  /** The text of an attribute. Undefined: there is none, or it cannot be read. */
  attribute(...names: string[]): string | undefined {
    try {
      return readFileSync(this.path(...names), "utf8").trim();
    } catch {
      return undefined;
    }
  }

  #pci(address: string): PciFunctionState {
    const number = (name: string) => Number(this.attribute("bus/pci/devices", address, name) ?? 0);
    return {
      address,
      vendor: number("vendor"),
      device: number("device"),
      classCode: number("class"),
      ...this.#links(this.folder(address)),
    };
  }

  #mdev(uuid: string): MdevState {
    return { uuid, ...this.#links(this.path("bus/mdev/devices", uuid)) };
  }

  #links(folder: string): Pick<PciFunctionState, "driver" | "group" | "vfio"> {
    return {
      driver: link(join(folder, "driver")),
      group: link(join(folder, "iommu_group")),
      vfio: entries(join(folder, "vfio-dev"))[0],
    };
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** The name that a link points to. */
function link(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch {
    return undefined;
  }
}

function real(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
