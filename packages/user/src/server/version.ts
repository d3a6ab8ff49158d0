import { VfioError } from "@vfiokit/core";
import {
  capabilityDefaults,
  type Capabilities,
  type RequestPayload,
  type ReplyPayload,
} from "../wire/index.js";
import type { ConnectionSettings } from "./options.js";

const MAJOR = 0;
/** DEVICE_FEATURE and MIG_DATA_* came with 0.1; nothing in a message depends on it. */
const MINOR = 1;

/** DmaAddressSpace's default. */
const MAX_DMA_MAPS = 65535;
const PAGE_SIZES = 4096;

/** What the client can take, from its VERSION. */
export interface PeerLimits {
  readonly maxMsgFds: number;
  readonly maxDataXferSize: number;
  /** Both have agreed on REGION_WRITE_MULTI. */
  readonly writeMultiple: boolean;
}

export interface Negotiated {
  readonly reply: ReplyPayload<"VERSION">;
  readonly peer: PeerLimits;
  /** The reply carries the client's end of a second socket, as its only descriptor. */
  readonly twinSocket: boolean;
}

/**
 * vfio-user, VERSION: the major version must be ours, the minor is the lesser one, and of the optional features
 * the reply names only those that were proposed. Our own limits it always names.
 *
 * @throws VfioError EINVAL for another major version
 */
export function negotiate(request: RequestPayload<"VERSION">, settings: ConnectionSettings): Negotiated {
  if (request.major !== MAJOR)
    throw new VfioError("EINVAL", `version ${request.major}.${request.minor}: this server speaks ${MAJOR}.x`);
  const proposed: Capabilities = request.data?.capabilities ?? {};
  const peer: PeerLimits = {
    maxMsgFds: proposed.max_msg_fds ?? capabilityDefaults.max_msg_fds,
    maxDataXferSize: proposed.max_data_xfer_size ?? capabilityDefaults.max_data_xfer_size,
    writeMultiple: proposed.write_multiple === true,
  };
  const twinSocket = settings.twinSocket && proposed.twin_socket?.supported === true && peer.maxMsgFds > 0;
  const capabilities: Capabilities = {
    max_msg_fds: settings.maxMsgFds,
    max_data_xfer_size: settings.maxDataXferSize,
    max_dma_maps: MAX_DMA_MAPS,
    pgsizes: PAGE_SIZES,
    ...(twinSocket && { twin_socket: { supported: true, fd_index: 0 } }),
    ...(peer.writeMultiple && { write_multiple: true }),
  };
  const reply = { major: MAJOR, minor: Math.min(request.minor, MINOR), data: { capabilities } };
  return { reply, peer, twinSocket };
}
