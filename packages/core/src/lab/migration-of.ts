import type { PciDevice } from "../device/pci-device.js";
import type { Migration } from "../migration/machine.js";

/** A device's migration with the members that reset strategies work on. Undefined where `PciDevice.migration` is. */
export function migrationOf(device: PciDevice): Migration | undefined {
  return device.resetView.migration;
}
