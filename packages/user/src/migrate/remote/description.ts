/** A device's description as a receiver sends it, and as the other side reads it. */

import { MigrationState } from "@vfiokit/core/migration";
import type { EndpointDescription } from "../endpoint.js";
import { countOf, encodeFrame, HandOver, stateOf, type FrameValue } from "./protocol.js";

/** The generation of a device that does not tell. */
const GENERATION_UNKNOWN = (1n << 64n) - 1n;

export function encodeDescription(request: number, description: EndpointDescription): Uint8Array {
  const { identity, flags, state, generation, handOver } = description;
  const { vendor, device, subsystemVendor, subsystemDevice, classCode, revision } = identity;
  return encodeFrame("DESCRIPTION", {
    request,
    vendor,
    device,
    subsystemVendor,
    subsystemDevice,
    classRevision: ((classCode << 8) | revision) >>> 0,
    migrationFlags: flags,
    state: MigrationState[state],
    handOver: handOver ? HandOver.SUPPORTED : 0,
    generation: generation === undefined ? GENERATION_UNKNOWN : BigInt(generation),
  });
}

/** What a receiver says of its device. @throws VfioError EPROTO: what no device is */
export function describedBy(value: FrameValue<"DESCRIPTION">, name: string): EndpointDescription {
  const { vendor, device, subsystemVendor, subsystemDevice, classRevision, generation } = value;
  return {
    name,
    identity: {
      vendor,
      device,
      subsystemVendor,
      subsystemDevice,
      classCode: classRevision >>> 8,
      revision: classRevision & 0xff,
    },
    flags: value.migrationFlags,
    state: stateOf(value.state),
    generation: generation === GENERATION_UNKNOWN ? undefined : countOf("generation", generation),
    handOver: (value.handOver & HandOver.SUPPORTED) !== 0,
  };
}
