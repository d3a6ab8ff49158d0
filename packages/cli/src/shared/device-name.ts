import { resolve } from "node:path";
import { isKernelAddress, parseKernelAddress, parsePciAddress } from "@vfiokit/user/kernel";
import { VfioError } from "@vfiokit/core";
import { UsageError } from "../errors.js";

/** What a command's help says of its argument. */
export const DEVICE_HELP =
  "path of the server's socket, or a device of the kernel's VFIO: vfio:0000:01:00.0, mdev:UUID";

/**
 * A device as a command names it from here on: a socket's whole path, or a kernel device's address as it is.
 * @throws UsageError for an address of another form
 */
export function deviceName(text: string): string {
  if (!isKernelAddress(text)) return resolve(text);
  parsed(() => parseKernelAddress(text));
  return text;
}

/** A PCI function's address, with its domain. @throws UsageError */
export function pciAddress(text: string): string {
  return parsed(() => parsePciAddress(text));
}

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof VfioError ? new UsageError(error.detail) : error;
  }
}
