import { resolve } from "node:path";
import { isKernelAddress } from "@vfiokit/user/kernel";

/** What a command says of its argument: "path of the server's socket" … */
export const DEVICE_HELP =
  "path of the server's socket, or a device of the kernel's VFIO: vfio:0000:01:00.0, mdev:UUID";

/** A device as a command names it from here on: a socket's whole path, or a kernel device's address as it is. */
export function deviceName(text: string): string {
  return isKernelAddress(text) ? text : resolve(text);
}
