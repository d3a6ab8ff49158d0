/** VFIO_USER_VERSION from the client's side: what is proposed, and what the reply makes of it. */

import type { Fd } from "../linux/index.js";
import {
  capabilityDefaults,
  type Capabilities,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import { protocolError } from "../socket/index.js";

const MAJOR = 0;
const MINOR = 1;

/** What the client can receive. Sizes in bytes. */
export interface Proposal {
  readonly maxMsgFds: number;
  readonly maxDataXferSize: number;
  readonly twinSocket: boolean;
}

/** What holds on a connection: the server's limits, and the smaller of both sides' where both count. */
export interface Limits {
  /** The version in use, such as "0.1". */
  readonly version: string;
  /** Descriptors that the server takes with one message. */
  readonly maxMsgFds: number;
  /** Bytes of one data transfer. */
  readonly maxDataXferSize: number;
  readonly maxDmaMaps: number;
  /** Page sizes of DMA maps, or'ed. */
  readonly pgsizes: bigint;
  readonly writeMultiple: boolean;
  /** The server sends its commands over a socket of their own. */
  readonly twinSocket: boolean;
  /** All that the server said. */
  readonly capabilities: Capabilities;
}

export function versionRequest(proposal: Proposal): RequestPayload<"VERSION"> {
  const capabilities: Capabilities = {
    max_msg_fds: proposal.maxMsgFds,
    max_data_xfer_size: proposal.maxDataXferSize,
    max_dma_maps: capabilityDefaults.max_dma_maps,
    pgsizes: capabilityDefaults.pgsizes,
    write_multiple: true,
    ...(proposal.twinSocket && { twin_socket: { supported: true } }),
  };
  return { major: MAJOR, minor: MINOR, data: { capabilities } };
}

/**
 * Takes the twin socket out of `fds`, where the server has sent one.
 * @throws VfioError EPROTO for a reply that breaks the rules of negotiation
 */
export function acceptVersion(
  reply: ReplyPayload<"VERSION">,
  fds: Fd[],
  proposal: Proposal,
): { limits: Limits; twin: Fd | undefined } {
  const { major, minor } = reply;
  if (major !== MAJOR || minor > MINOR) {
    throw protocolError(`the server speaks version ${major}.${minor}, ${MAJOR}.${MINOR} was proposed`);
  }
  const capabilities = { ...capabilityDefaults, ...reply.data?.capabilities };
  if (capabilities.max_data_xfer_size === 0) throw protocolError("the server's max_data_xfer_size is 0");
  const twin = takeTwin(capabilities, fds, proposal);
  const limits: Limits = {
    version: `${major}.${minor}`,
    maxMsgFds: capabilities.max_msg_fds,
    maxDataXferSize: Math.min(capabilities.max_data_xfer_size, proposal.maxDataXferSize),
    maxDmaMaps: capabilities.max_dma_maps,
    pgsizes: BigInt(capabilities.pgsizes),
    writeMultiple: reply.data?.capabilities?.write_multiple ?? false,
    twinSocket: twin !== undefined,
    capabilities: reply.data?.capabilities ?? {},
  };
  return { limits, twin };
}

/** vfio-user: a reply that has twin_socket.supported without a valid fd_index is inconsistent; the client must close. */
function takeTwin(capabilities: Capabilities, fds: Fd[], proposal: Proposal): Fd | undefined {
  const { twin_socket } = capabilities;
  if (!twin_socket?.supported) return undefined;
  if (!proposal.twinSocket) throw protocolError("the server enabled twin_socket, which was not proposed");
  const index = twin_socket.fd_index;
  if (index === undefined || index >= fds.length) {
    throw protocolError(
      `twin_socket.fd_index is ${index ?? "absent"}: the message has ${fds.length} descriptors`,
    );
  }
  return fds.splice(index, 1)[0];
}
