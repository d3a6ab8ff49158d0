import { join } from "node:path";
import { PciDevice } from "@vfiokit/core";
import { AdminServer, DeviceAdmin, VfioUserServer } from "@vfiokit/user";
import { killedDevice } from "./device.js";

/** Serves COUNT devices at DIRECTORY/0 and so on, as `vfiokit serve` does each. Says "ready". */

/** A chunk of a migration, at the most: small, so that each migration has many points. */
const CHUNK = 8192;

const [, , directory, count] = process.argv;
for (let i = 0; i < Number(count); i++) {
  const socketPath = join(/** @type {string} */ (directory), String(i));
  const device = new PciDevice(killedDevice, { name: socketPath });
  const server = new VfioUserServer(device, { socketPath, maxDataXferSize: CHUNK });
  await server.listen();
  new AdminServer(new DeviceAdmin(device, server), { socketPath: `${socketPath}.ctl` }).listen();
}
console.log("ready");
