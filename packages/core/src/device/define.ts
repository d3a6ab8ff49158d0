import type { DeviceIdentity } from "../migration/stream.js";
import type { ConfigDefinition } from "../pci/build.js";
import type { FunctionHost, PciFunction } from "./function.js";

/** A PCI function as data: what it looks like to software, and how to make one. */
export interface PciDeviceDefinition extends ConfigDefinition {
  /** Short name for logs, streams and locks, such as "serial". */
  readonly name: string;
  /** Makes the function behind the registers. */
  create(host: FunctionHost): PciFunction;
}

/**
 * Declares a PCI device. Checks nothing that `new PciDevice(definition)` does not check again:
 * it exists so that a definition is typed where it is written.
 */
export function definePciDevice(definition: PciDeviceDefinition): PciDeviceDefinition {
  return definition;
}

/** What a migration stream names its device by. */
export function identityOf({ id }: PciDeviceDefinition): DeviceIdentity {
  return {
    vendor: id.vendor,
    device: id.device,
    subsystemVendor: id.subsystemVendor ?? id.vendor,
    subsystemDevice: id.subsystem ?? id.device,
    classCode: id.classCode,
    revision: id.revision ?? 0,
  };
}
