/** Whole messages: header and payload, by command. */

import { checkFeatureReply, checkFeatureRequest, DeviceFeature } from "./features.js";
import {
  Command,
  commandName,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  Type,
  TYPE_MASK,
  type CommandName,
} from "./header.js";
import * as rules from "./rules.js";
import type { Rule } from "./rules.js";
import type { Fields, Struct, StructValue } from "../layout/struct.js";
import * as s from "./structs.js";

/** Who sends the request. */
export type Direction = "client" | "server";

interface Payload<F extends Fields> {
  readonly struct: Struct<F>;
  readonly rules: readonly Rule<StructValue<Struct<F>>>[];
}

function payload<F extends Fields>(
  struct: Struct<F>,
  rules: readonly Rule<NoInfer<StructValue<Struct<F>>>>[] = [],
): Payload<F> {
  return { struct, rules };
}

const none = payload(s.Empty);

/** Every command: what its request and its reply carry. */
export const messages = {
  VERSION: { from: "client", request: payload(s.Version), reply: payload(s.Version) },
  DMA_MAP: { from: "client", request: payload(s.DmaMap, rules.dmaMap), reply: none },
  DMA_UNMAP: { from: "client", request: payload(s.DmaUnmap, rules.dmaUnmap), reply: payload(s.DmaUnmap) },
  DEVICE_GET_INFO: {
    from: "client",
    request: payload(s.DeviceInfo, rules.getInfo),
    reply: payload(s.DeviceInfo),
  },
  DEVICE_GET_REGION_INFO: {
    from: "client",
    request: payload(s.RegionInfoRequest, rules.getRegionInfo),
    reply: payload(s.RegionInfo),
  },
  DEVICE_GET_REGION_IO_FDS: {
    from: "client",
    request: payload(s.RegionIoFdsRequest, rules.getRegionIoFds),
    reply: payload(s.RegionIoFds),
  },
  DEVICE_GET_IRQ_INFO: {
    from: "client",
    request: payload(s.IrqInfo, rules.getIrqInfo),
    reply: payload(s.IrqInfo),
  },
  DEVICE_SET_IRQS: { from: "client", request: payload(s.IrqSet, rules.setIrqs), reply: none },
  REGION_READ: {
    from: "client",
    request: payload(s.RegionAccess, rules.regionAccess),
    reply: payload(s.RegionData),
  },
  REGION_WRITE: {
    from: "client",
    request: payload(s.RegionData, rules.regionAccess),
    reply: payload(s.RegionAccess),
  },
  DMA_READ: { from: "server", request: payload(s.DmaAccess, rules.dmaAccess), reply: payload(s.DmaData) },
  DMA_WRITE: { from: "server", request: payload(s.DmaData, rules.dmaAccess), reply: payload(s.DmaWritten) },
  DEVICE_RESET: { from: "client", request: none, reply: none },
  REGION_WRITE_MULTI: {
    from: "client",
    request: payload(s.RegionWriteMulti, rules.regionWriteMulti),
    reply: payload(s.RegionWriteMultiReply),
  },
  DEVICE_FEATURE: {
    from: "client",
    request: payload(DeviceFeature, [checkFeatureRequest]),
    reply: payload(DeviceFeature, [checkFeatureReply]),
  },
  MIG_DATA_READ: {
    from: "client",
    request: payload(s.MigrationDataRequest, rules.migrationDataRead),
    reply: payload(s.MigrationDataReply),
  },
  MIG_DATA_WRITE: { from: "client", request: payload(s.MigrationData), reply: none },
} as const satisfies Record<
  CommandName,
  { readonly from: Direction; readonly request: unknown; readonly reply: unknown }
>;

type Messages = typeof messages;
type PayloadValue<P> = P extends Payload<infer F> ? StructValue<Struct<F>> : never;
/** What a command carries behind the header. */
export type RequestPayload<C extends CommandName> = PayloadValue<Messages[C]["request"]>;
/** What a command's reply carries behind the header. */
export type ReplyPayload<C extends CommandName> = PayloadValue<Messages[C]["reply"]>;

/** A command. */
export interface Request<C extends CommandName> {
  readonly kind: "request";
  readonly command: C;
  readonly msg_id: number;
  readonly no_reply: boolean;
  readonly payload: RequestPayload<C>;
}

/** A reply that is no error. */
export interface Reply<C extends CommandName> {
  readonly kind: "reply";
  readonly command: C;
  readonly msg_id: number;
  readonly payload: ReplyPayload<C>;
}

/** A reply that says what went wrong. It has no payload. */
export interface ErrorReply<C extends CommandName> {
  readonly kind: "error";
  readonly command: C;
  readonly msg_id: number;
  /** errno; 0 where the peer did not say. */
  readonly errno: number;
}

/** A message of any command, decoded. */
export type Message = { [C in CommandName]: Request<C> | Reply<C> | ErrorReply<C> }[CommandName];

function payloadOf(command: CommandName, kind: "request" | "reply"): Payload<Fields> {
  return messages[command][kind] as Payload<Fields>;
}

/**
 * Decodes one whole message. Byte arrays in it are views of `bytes`: copy what outlives the buffer.
 * @throws WireError, and nothing else, for bytes that are not a valid message
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const header = Header.decode(bytes);
  const size = header.msg_size;
  if (size < HEADER_SIZE) throw Header.error("msg_size", size, `a message has at least ${HEADER_SIZE} bytes`);
  if (size !== bytes.length) throw Header.error("msg_size", size, `the message has ${bytes.length} bytes`);
  const command = commandName(header.cmd);
  if (command === undefined) throw Header.error("cmd", header.cmd, "a command of the protocol");
  const { msg_id } = header;
  const type = header.flags & TYPE_MASK;
  if (type !== Type.COMMAND && type !== Type.REPLY) throw Header.error("flags", header.flags, "type 0 or 1");
  if (type === Type.REPLY && header.flags & HeaderFlags.ERROR) {
    return { kind: "error", command, msg_id, errno: header.error_no };
  }
  const kind = type === Type.REPLY ? "reply" : "request";
  const { struct, rules } = payloadOf(command, kind);
  const value = struct.decode(bytes.subarray(HEADER_SIZE));
  for (const rule of rules) rule(value);
  const message =
    kind === "reply"
      ? { kind, command, msg_id, payload: value }
      : { kind, command, msg_id, no_reply: (header.flags & HeaderFlags.NO_REPLY) !== 0, payload: value };
  return message as Message;
}

/** @throws WireError where the payload breaks the rules that decodeMessage checks */
export function encodeMessage(message: Message): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(encodedSize(message));
  writeMessage(message, bytes);
  return bytes;
}

/** Bytes of a message when encoded. */
export function encodedSize(message: Message): number {
  if (message.kind === "error") return HEADER_SIZE;
  return HEADER_SIZE + payloadOf(message.command, message.kind).struct.length(message.payload);
}

/**
 * Encodes a message where it is sent from.
 * @param into zeros, as many as `encodedSize`
 * @throws WireError as encodeMessage
 */
export function writeMessage(message: Message, into: Uint8Array): void {
  const { command, msg_id } = message;
  const cmd = Command[command];
  const header = into.subarray(0, HEADER_SIZE);
  if (message.kind === "error") {
    const flags = Type.REPLY | HeaderFlags.ERROR;
    Header.write({ msg_id, cmd, msg_size: HEADER_SIZE, flags, error_no: message.errno }, header);
    return;
  }
  const { struct, rules } = payloadOf(command, message.kind);
  for (const rule of rules) rule(message.payload);
  const noReply = message.kind === "request" && message.no_reply ? HeaderFlags.NO_REPLY : 0;
  const flags = message.kind === "reply" ? Type.REPLY : Type.COMMAND | noReply;
  Header.write({ msg_id, cmd, msg_size: into.length, flags, error_no: 0 }, header);
  struct.write(message.payload, into.subarray(HEADER_SIZE));
}

/** A command for the peer. */
export function encodeRequest<C extends CommandName>(
  command: C,
  msg_id: number,
  payload: RequestPayload<C>,
  no_reply = false,
): Uint8Array<ArrayBuffer> {
  return encodeMessage({ kind: "request", command, msg_id, no_reply, payload } as Message);
}

/** The answer to a command. */
export function encodeReply<C extends CommandName>(
  command: C,
  msg_id: number,
  payload: ReplyPayload<C>,
): Uint8Array<ArrayBuffer> {
  return encodeMessage({ kind: "reply", command, msg_id, payload } as Message);
}

/**
 * The answer to a command that failed: the header alone (vfio-user: "the reply message must only include the reply
 * header"). `cmd` is a number, as it may be one that nobody knows.
 */
export function encodeError(cmd: number, msg_id: number, errno: number): Uint8Array<ArrayBuffer> {
  const flags = Type.REPLY | HeaderFlags.ERROR;
  return Header.encode({ msg_id, cmd, msg_size: HEADER_SIZE, flags, error_no: errno });
}
