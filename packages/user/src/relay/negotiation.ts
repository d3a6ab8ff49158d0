import {
  capabilityDefaults,
  type Capabilities,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import { MAX_DATA_XFER, MAX_MSG_FDS } from "./server-link.js";

type Proposal = RequestPayload<"VERSION">;
type Agreed = ReplyPayload<"VERSION">;

/** What the relay proposes to a server for a client: the client's own words, but for what the relay has no room for. */
export function proposalFor({ major, minor, data }: Proposal): Proposal {
  return { major, minor, data: { ...data, capabilities: withinLimits(data?.capabilities ?? {}) } };
}

/** What the client is told: the server's words, but for the relay's limits and its own second socket. */
export function answerFor({ major, minor, data }: Agreed, twin: boolean): Agreed {
  const { twin_socket: _, ...rest } = data?.capabilities ?? {};
  const capabilities: Capabilities = {
    ...withinLimits(rest),
    ...(twin && { twin_socket: { supported: true, fd_index: 0 } }),
  };
  return { major, minor, data: { ...data, capabilities } };
}

/** What the relay proposes to the client's next server: what the client has now, neither more nor less. */
export function nextProposal(proposed: Proposal, agreed: Agreed): Proposal {
  const { twin_socket, write_multiple, ...rest } = proposed.data?.capabilities ?? {};
  const have = agreed.data?.capabilities;
  const capabilities: Capabilities = {
    ...rest,
    ...(twin_socket && have?.twin_socket?.supported === true && { twin_socket }),
    ...(write_multiple === true && have?.write_multiple === true && { write_multiple }),
  };
  return { major: agreed.major, minor: agreed.minor, data: { ...proposed.data, capabilities } };
}

/** What a side can do, as far as the relay has room for it. */
export function withinLimits(capabilities: Capabilities): Capabilities {
  const { max_msg_fds, max_data_xfer_size } = { ...capabilityDefaults, ...capabilities };
  return {
    ...capabilities,
    max_msg_fds: Math.min(max_msg_fds, MAX_MSG_FDS),
    max_data_xfer_size: Math.min(max_data_xfer_size, MAX_DATA_XFER),
  };
}
