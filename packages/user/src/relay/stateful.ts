import { VfioError } from "@vfiokit/core";
import { RegionFlags } from "@vfiokit/core/host";
import type { Fd } from "../linux/index.js";
import {
  Command,
  decodeMessage,
  encodeReply,
  Feature,
  FEATURE_MASK,
  FeatureDmaLoggingControl,
  FeatureDmaLoggingReport,
  FeatureFlags,
  RegionInfo,
  type Message,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import type { ClientSetup } from "./client-setup.js";

/**
 * A request of the client whose answer the relay reads: it changes what a new server must be told, or must not be passed
 * on as it is.
 */
export interface StatefulRequest {
  /** As the client sent it: to be sent again. */
  readonly message: Uint8Array;
  /** Ours until the request is done. `onReply` takes out what is kept. */
  readonly fds: Fd[];
  /** The client asked for no reply, the relay does: it has to know. */
  readonly quiet: boolean;
  /**
   * The server has carried it out.
   * @param wanted the client still waits for the reply
   * @returns the reply to pass on in the server's stead; undefined: the server's
   */
  onReply(reply: Message, wanted: boolean): Uint8Array | undefined;
}

/** Commands that go through here; all others are passed on as they are. */
export function isStateful(cmd: number): boolean {
  switch (cmd) {
    case Command.DMA_MAP:
    case Command.DMA_UNMAP:
    case Command.DEVICE_SET_IRQS:
    case Command.DEVICE_GET_REGION_INFO:
    case Command.DEVICE_GET_REGION_IO_FDS:
    case Command.DEVICE_FEATURE:
      return true;
    default:
      return false;
  }
}

/**
 * @param message a copy of the client's message
 * @throws WireError: no server would take it
 */
export function statefulRequest(message: Uint8Array, fds: Fd[], setup: ClientSetup): StatefulRequest {
  const request = decodeMessage(message);
  if (request.kind !== "request") throw new VfioError("EINVAL", "not a request");
  const handler = handlers[request.command as StatefulCommand] as AnyHandler | undefined;
  return {
    message,
    fds,
    quiet: request.no_reply,
    onReply: (reply, wanted) => {
      if (reply.kind !== "reply" || reply.command !== request.command) return undefined;
      return handler?.(request.payload, reply.payload, { msg_id: request.msg_id, fds, setup, wanted });
    },
  };
}

interface Context {
  /** The client's. */
  readonly msg_id: number;
  readonly fds: Fd[];
  readonly setup: ClientSetup;
  readonly wanted: boolean;
}

type StatefulCommand =
  | "DMA_MAP"
  | "DMA_UNMAP"
  | "DEVICE_SET_IRQS"
  | "DEVICE_GET_REGION_INFO"
  | "DEVICE_GET_REGION_IO_FDS"
  | "DEVICE_FEATURE";
type Handler<C extends StatefulCommand> = (
  request: RequestPayload<C>,
  reply: ReplyPayload<C>,
  context: Context,
) => Uint8Array | undefined;
type AnyHandler = (request: unknown, reply: unknown, context: Context) => Uint8Array | undefined;

const handlers: { readonly [C in StatefulCommand]: Handler<C> } = {
  DMA_MAP(request, _reply, { fds, setup }) {
    setup.addMap(request, fds.shift());
    return undefined;
  },

  DMA_UNMAP(request, _reply, { setup }) {
    setup.removeMaps(request);
    return undefined;
  },

  DEVICE_SET_IRQS(request, _reply, { fds, setup }) {
    setup.setIrqs(request, fds.splice(0));
    return undefined;
  },

  /** A region that the client maps could not be moved from under it: only messages reach regions. */
  DEVICE_GET_REGION_INFO(_request, reply, { msg_id }) {
    const capabilities = reply.capabilities.filter(({ kind }) => kind !== "sparse-mmap");
    // With more capabilities than there was room for, argsz says how much room they take: it still does. CAPS is set
    // where the capabilities are: QEMU 11 takes it with cap_offset 0 as an error.
    const complete = reply.cap_offset !== 0 || reply.argsz <= RegionInfo.size;
    const flags =
      (reply.flags & ~(RegionFlags.MMAP | RegionFlags.CAPS)) |
      (capabilities.length > 0 ? RegionFlags.CAPS : 0);
    const payload = {
      ...reply,
      flags,
      capabilities,
      offset: 0n,
      cap_offset: capabilities.length > 0 ? RegionInfo.size : 0,
    };
    const argsz = complete ? RegionInfo.length(payload) : reply.argsz;
    return encodeReply("DEVICE_GET_REGION_INFO", msg_id, { ...payload, argsz });
  },

  /** An ioeventfd goes past the relay, to a server that may be gone. */
  DEVICE_GET_REGION_IO_FDS(_request, reply, { msg_id }) {
    const payload = { ...reply, argsz: 16, count: 0, sub_regions: [] };
    return encodeReply("DEVICE_GET_REGION_IO_FDS", msg_id, payload);
  },

  /** Dirty pages that another server has logged are part of a report. */
  DEVICE_FEATURE({ flags, data }, reply, { msg_id, setup: { logging }, wanted }) {
    if (flags & FeatureFlags.PROBE) return undefined;
    switch (flags & FEATURE_MASK) {
      case Feature.DMA_LOGGING_START: {
        const { page_size } = FeatureDmaLoggingControl.decode(reply.data);
        logging.started(FeatureDmaLoggingControl.decode(data), page_size);
        return undefined;
      }
      case Feature.DMA_LOGGING_STOP:
        logging.stopped();
        return undefined;
      case Feature.DMA_LOGGING_REPORT: {
        const report = FeatureDmaLoggingReport.decode(reply.data);
        if (!wanted) {
          logging.keep(report);
          return undefined;
        }
        const complete = FeatureDmaLoggingReport.encode(logging.complete(report));
        return encodeReply("DEVICE_FEATURE", msg_id, { ...reply, data: complete });
      }
      default:
        return undefined;
    }
  },
};
