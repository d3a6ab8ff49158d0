import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import { ReplyError } from "../socket/index.js";
import { ioctl } from "./ioctl.js";
import { DependentDevice, HotReset, HotResetFlags, HotResetInfo, HotResetInfoRequest } from "./uapi.js";

/** A function that a hot reset resets as well. */
export interface AffectedDevice {
  /** "0000:01:00.0" */
  readonly address: string;
  /** Its IOMMU group; with iommufd undefined. */
  readonly group: number | undefined;
  /** With iommufd: whether this process has it. */
  readonly owned: boolean | undefined;
}

/** Functions of a slot, or of a bus with all of its slots. */
const FIRST_GUESS = 32;

/** @throws ReplyError ENODEV, EINVAL: the function cannot be reset by its slot or bus */
export function affectedBy(device: Fd): AffectedDevice[] {
  const { flags, devices } = hotResetInfo(device);
  const byId = (flags & HotResetFlags.DEV_ID) !== 0;
  return devices.map((one) => ({
    address: addressOf(one),
    group: byId ? undefined : one.group_id,
    owned: byId ? (flags & HotResetFlags.DEV_ID_OWNED) !== 0 : undefined,
  }));
}

function hotResetInfo(device: Fd) {
  for (let count = FIRST_GUESS; ;) {
    const info = new Uint8Array(HotResetInfoRequest.size + count * DependentDevice.size);
    HotResetInfoRequest.write({ argsz: info.length, flags: 0, count: 0 }, info);
    try {
      ioctl(device, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", info, REASONS);
      return HotResetInfo.decode(info);
    } catch (error) {
      if (!(error instanceof ReplyError) || error.code !== "ENOSPC") throw error;
      count = HotResetInfoRequest.decode(info).count;
    }
  }
}

/**
 * @param group proves that the functions of that group are this process's. Undefined: iommufd knows whose they are
 * @throws VfioError EPERM: others are affected, whose group this process does not have
 */
export function hotReset(device: Fd, group: Fd | undefined): void {
  const affected = affectedBy(device);
  const groups = new Set(affected.map((one) => one.group));
  if (group && groups.size > 1)
    throw new VfioError(
      "EPERM",
      `a hot reset would also reset functions of other groups: ${affected.map(named).join(", ")}`,
    );
  const fds = group ? [{ fd: group.number }] : [];
  const size = HotReset.size + 4 * fds.length;
  const request = HotReset.encode({ argsz: size, flags: 0, count: fds.length, groups: fds });
  ioctl(device, "VFIO_DEVICE_PCI_HOT_RESET", request, {
    ...REASONS,
    EINVAL: () => `not all of its functions are this process's: ${affected.map(named).join(", ")}`,
  });
}

const REASONS = { ENODEV: "neither its slot nor its bus can be reset" };

const named = ({ address, group }: AffectedDevice): string =>
  group === undefined ? address : `${address} (group ${group})`;

function addressOf({ segment, bus, devfn }: DependentDevice): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  return `${hex(segment, 4)}:${hex(bus, 2)}:${hex(devfn >> 3, 2)}.${devfn & 7}`;
}
