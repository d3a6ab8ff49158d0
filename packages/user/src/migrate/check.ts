import { VfioError } from "@vfiokit/core";
import { describeIdentity, MigrationFlags, type DeviceIdentity } from "@vfiokit/core/migration";
import type { EndpointDescription } from "./endpoint.js";

/** Fields of the identity, as lspci calls them, with the hex digits that each has. */
const identityFields: Readonly<Record<keyof DeviceIdentity, readonly [name: string, digits: number]>> = {
  vendor: ["vendor", 4],
  device: ["device", 4],
  subsystemVendor: ["subsystem vendor", 4],
  subsystemDevice: ["subsystem device", 4],
  classCode: ["class", 6],
  revision: ["revision", 2],
};

/**
 * Whether a device can go from one end to the other.
 * @throws VfioError EINVAL: the devices differ; EOPNOTSUPP: one cannot be migrated; EBUSY: one is not in RUNNING.
 *   The message names the field and what it is at both ends
 */
export function checkEnds(source: EndpointDescription, target: EndpointDescription): void {
  for (const end of [source, target]) {
    if ((end.flags & MigrationFlags.STOP_COPY) === 0)
      throw new VfioError("EOPNOTSUPP", `${end.name}: the device cannot be migrated (no STOP_COPY)`);
  }
  checkIdentity(source, target);
  for (const end of [source, target]) {
    if (end.state === "RUNNING") continue;
    const advice = end.state === "ERROR" ? "reset it first" : "recover or end the earlier migration first";
    throw new VfioError("EBUSY", `${end.name}: the device is in ${end.state}, not RUNNING: ${advice}`);
  }
}

/** Both ends can do PRE_COPY: the device can be copied while it runs. */
export function canPrecopy(source: EndpointDescription, target: EndpointDescription): boolean {
  return (source.flags & target.flags & MigrationFlags.PRE_COPY) !== 0;
}

function checkIdentity(source: EndpointDescription, target: EndpointDescription): void {
  const differences = (Object.keys(identityFields) as (keyof DeviceIdentity)[])
    .filter((field) => source.identity[field] !== target.identity[field])
    .map((field) => {
      const [name, digits] = identityFields[field];
      const hex = (identity: DeviceIdentity) => identity[field].toString(16).padStart(digits, "0");
      return `${name} is ${hex(source.identity)} at ${source.name} and ${hex(target.identity)} at ${target.name}`;
    });
  if (differences.length === 0) return;
  throw new VfioError(
    "EINVAL",
    `these are different devices, and a guest must not see its own change: ${differences.join("; ")} ` +
      `(${describeIdentity(source.identity)}, ${describeIdentity(target.identity)})`,
  );
}
