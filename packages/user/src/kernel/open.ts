import { openSync } from "node:fs";
import { join } from "node:path";
import { VfioError } from "@vfiokit/core";
import { Fd } from "../linux/index.js";
import { asVfioError } from "../socket/index.js";
import { parseKernelAddress, type KernelAddress } from "./address.js";
import { KernelDevice } from "./device.js";
import { ioctl } from "./ioctl.js";
import { IommufdIoas, Type1Iommu } from "./iommu.js";
import { isVfio, Sysfs, type MdevState, type PciFunctionState } from "./sysfs.js";
import {
  API_VERSION,
  AttachIommufdPt,
  BindIommufd,
  GroupFlags,
  GroupStatus,
  IoasAlloc,
  TYPE1V2_IOMMU,
} from "./uapi.js";

/** Where the kernel's trees are: others in tests, and in containers. */
export interface KernelPaths {
  /** Default "/sys". */
  readonly sysfs?: string;
  /** Default "/dev". */
  readonly dev?: string;
}

/**
 * Opens a device through the kernel's VFIO: by its own node and iommufd where the kernel has both, otherwise by its group
 * and a container with type1v2. Needs no root, but access to the nodes.
 *
 * @param address `vfio:0000:01:00.0`, `mdev:UUID`, `vfio:/dev/vfio/devices/vfio0`, `vfio:/dev/vfio/12:0000:01:00.0`
 * @throws VfioError that says what is missing, and what to do about it
 */
export function openKernelDevice(address: string, paths: KernelPaths = {}): KernelDevice {
  const parsed = parseKernelAddress(address);
  try {
    return open(address, parsed, new Sysfs(paths.sysfs), paths.dev ?? "/dev");
  } catch (error) {
    throw asVfioError(error).at(address);
  }
}

function open(text: string, address: KernelAddress, sysfs: Sysfs, dev: string): KernelDevice {
  switch (address.kind) {
    case "cdev":
      return openCdev(text, address.node, dev);
    case "group":
      return openInGroup(text, address.node, address.name, sysfs, dev);
    case "pci":
      return openFound(text, address.name, findPci(address.name, sysfs), sysfs, dev);
    case "mdev":
      return openFound(text, address.name, findMdev(address.name, sysfs), sysfs, dev);
  }
}

function findPci(name: string, sysfs: Sysfs): PciFunctionState {
  const found = sysfs.function(name);
  if (!found) throw new VfioError("ENODEV", `there is no such PCI function (${sysfs.folder(name)})`);
  const { driver } = found;
  const bind = `vfiokit bind ${name}`;
  if (!isVfio(found))
    throw new VfioError(
      "ENODEV",
      driver === undefined
        ? `no driver has it: ${bind}`
        : `it is bound to ${driver}, not to vfio-pci: ${bind}`,
    );
  return found;
}

function findMdev(name: string, sysfs: Sysfs): MdevState {
  const found = sysfs.mdev(name);
  if (!found)
    throw new VfioError(
      "ENODEV",
      `there is no such mediated device (${sysfs.path("bus/mdev/devices", name)}): one is made by writing ` +
        "its UUID to mdev_supported_types/TYPE/create of its parent",
    );
  return found;
}

function openFound(
  text: string,
  name: string,
  { group, vfio }: Pick<PciFunctionState, "group" | "vfio">,
  sysfs: Sysfs,
  dev: string,
): KernelDevice {
  const cdev = vfio === undefined ? undefined : openNode(join(dev, "vfio/devices", vfio), true);
  const iommufd = cdev && openNode(join(dev, "iommu"), true);
  if (cdev && iommufd) return attach(text, cdev, iommufd);
  cdev?.close();
  if (group === undefined)
    throw new VfioError(
      "ENODEV",
      "it is in no IOMMU group: the IOMMU is off (intel_iommu=on, or the firmware's VT-d or AMD-Vi), or does not cover it",
    );
  return openInGroup(text, join(dev, "vfio", group), name, sysfs, dev);
}

function openInGroup(text: string, node: string, name: string, sysfs: Sysfs, dev: string): KernelDevice {
  const container = openNode(join(dev, "vfio/vfio"));
  let group: Fd | undefined;
  try {
    const version = ioctl(container, "VFIO_GET_API_VERSION", null);
    if (version !== API_VERSION) throw new VfioError("EINVAL", `VFIO's API has version ${version}, not 0`);
    if (ioctl(container, "VFIO_CHECK_EXTENSION", BigInt(TYPE1V2_IOMMU)) === 0)
      throw new VfioError("ENODEV", "the kernel has no type1v2 IOMMU driver: modprobe vfio_iommu_type1");
    group = openNode(node);
    checkViable(group, node, sysfs);
    const fd = new Int32Array([container.number]);
    ioctl(group, "VFIO_GROUP_SET_CONTAINER", fd, { EINVAL: "the group has a container already" });
    ioctl(container, "VFIO_SET_IOMMU", BigInt(TYPE1V2_IOMMU), {
      EPERM: "the platform cannot isolate interrupts: vfio_iommu_type1.allow_unsafe_interrupts=1",
      ENODEV: "the group has no IOMMU driver: modprobe vfio_iommu_type1",
    });
    const device = ioctl(group, "VFIO_GROUP_GET_DEVICE_FD", Buffer.from(`${name}\0`), {
      ENODEV: `group ${node} has no device ${name}, or its driver is none of VFIO's`,
      EBUSY: "another process has the device open",
    });
    return new KernelDevice(text, new Fd(device), new Type1Iommu(container), group);
  } catch (error) {
    group?.close();
    container.close();
    throw error;
  }
}

/** @throws VfioError EBUSY that names the devices of the group that other drivers have */
function checkViable(group: Fd, node: string, sysfs: Sysfs): void {
  const status = GroupStatus.encode({ argsz: GroupStatus.size, flags: 0 });
  ioctl(group, "VFIO_GROUP_GET_STATUS", status);
  if (GroupStatus.decode(status).flags & GroupFlags.VIABLE) return;
  const number = node.slice(node.lastIndexOf("/") + 1);
  const others = sysfs.strangers(number).map(({ address, driver }) => `${address} (${driver!})`);
  throw new VfioError(
    "EBUSY",
    `group ${number} is not viable: its devices are given away together, and other drivers have ` +
      `${others.join(", ") || "some of them"}: vfiokit bind or vfiokit unbind them`,
  );
}

function openCdev(text: string, node: string, dev: string): KernelDevice {
  return attach(text, openNode(node), openNode(join(dev, "iommu")));
}

/** Takes both descriptors. */
function attach(text: string, cdev: Fd, iommufd: Fd): KernelDevice {
  try {
    const bind = BindIommufd.encode({
      argsz: BindIommufd.offset.token_uuid_ptr,
      flags: 0,
      iommufd: iommufd.number,
      out_devid: 0,
      token_uuid_ptr: 0n,
    });
    ioctl(cdev, "VFIO_DEVICE_BIND_IOMMUFD", bind, {
      EBUSY: "another process has the device, or its group",
      EINVAL: "another device of its group has a driver that is none of VFIO's",
    });
    const ioas = IoasAlloc.encode({ size: IoasAlloc.size, flags: 0, out_ioas_id: 0 });
    ioctl(iommufd, "IOMMU_IOAS_ALLOC", ioas);
    const { out_ioas_id } = IoasAlloc.decode(ioas);
    const pt = { argsz: AttachIommufdPt.offset.pasid, flags: 0, pt_id: out_ioas_id, pasid: 0 };
    ioctl(cdev, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", AttachIommufdPt.encode(pt));
    return new KernelDevice(text, cdev, new IommufdIoas(iommufd, out_ioas_id), undefined);
  } catch (error) {
    cdev.close();
    iommufd.close();
    throw error;
  }
}

/** What to do about a node that cannot be opened. */
const NODE_REASONS: Readonly<Record<string, string>> = {
  EACCES: "this user may not open it: give the node to its group, or run as its owner",
  EPERM: "this user may not open it, or the kernel is locked down",
  EBUSY: "another process has it open",
};
const MISSING: readonly (readonly [RegExp, string])[] = [
  [/\/vfio\/vfio$/, "the kernel's VFIO is not loaded: modprobe vfio"],
  [/\/iommu$/, "the kernel has no iommufd (CONFIG_IOMMUFD): name the device by its PCI address or its group"],
  [/\/vfio\/devices\//, "the kernel has no device nodes of VFIO (CONFIG_VFIO_DEVICE_CDEV)"],
];

function openNode(path: string): Fd;
function openNode(path: string, optional: true): Fd | undefined;
function openNode(path: string, optional = false): Fd | undefined {
  try {
    return new Fd(openSync(path, "r+"));
  } catch (error) {
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    const missing = code === "ENOENT" || code === "ENODEV" || code === "ENXIO";
    if (optional && missing) return undefined;
    const why = missing
      ? (MISSING.find(([form]) => form.test(path))?.[1] ?? "no driver of VFIO has the group: vfiokit list")
      : (NODE_REASONS[code] ?? (error as Error).message);
    throw new VfioError(asVfioError(error).code, `open(${path}): ${code}: ${why}`);
  }
}
