import { VfioError } from "@vfiokit/core";

/** Where a device of the kernel's VFIO is. */
export type KernelAddress =
  /** A PCI function: `vfio:0000:01:00.0` */
  | { readonly kind: "pci"; readonly name: string }
  /** A mediated device: `mdev:UUID` */
  | { readonly kind: "mdev"; readonly name: string }
  /** A device of a group: `vfio:/dev/vfio/12:0000:01:00.0` */
  | { readonly kind: "group"; readonly node: string; readonly name: string }
  /** A device's own node: `vfio:/dev/vfio/devices/vfio0` */
  | { readonly kind: "cdev"; readonly node: string };

const PCI = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const GROUP = /^(\/.*\/(?:noiommu-)?\d+):(.+)$/;

/** Whether a command's argument names a device of the kernel's, and no socket. */
export function isKernelAddress(text: string): boolean {
  return /^(vfio|mdev):/.test(text);
}

/** @throws VfioError EINVAL */
export function parseKernelAddress(text: string): KernelAddress {
  const [, scheme, rest = ""] = /^(vfio|mdev):(.*)$/.exec(text) ?? [];
  const name = rest.toLowerCase();
  if (scheme === "mdev") {
    if (UUID.test(name)) return { kind: "mdev", name };
    throw new VfioError("EINVAL", `${text}: mdev: is followed by a UUID, as /sys/bus/mdev/devices has it`);
  }
  if (PCI.test(name)) return { kind: "pci", name };
  const [, node, inGroup] = GROUP.exec(rest) ?? [];
  if (node !== undefined) return { kind: "group", node, name: inGroup!.toLowerCase() };
  if (scheme === "vfio" && rest.startsWith("/")) return { kind: "cdev", node: rest };
  throw new VfioError(
    "EINVAL",
    `${text}: a device is vfio:0000:01:00.0, vfio:/dev/vfio/devices/vfio0, vfio:/dev/vfio/12:0000:01:00.0 or mdev:UUID`,
  );
}

/** A PCI function's address, with or without its domain. @throws VfioError EINVAL */
export function parsePciAddress(text: string): string {
  const name = text.replace(/^vfio:/, "").toLowerCase();
  if (PCI.test(name)) return name;
  if (PCI.test(`0000:${name}`)) return `0000:${name}`;
  throw new VfioError("EINVAL", `${text}: a PCI function is DOMAIN:BUS:DEVICE.FUNCTION, as 0000:01:00.0`);
}
