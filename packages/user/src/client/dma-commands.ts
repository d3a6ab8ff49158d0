import { errnoOf, VfioError } from "@vfiokit/core";
import {
  Command,
  decodeMessage,
  DmaAccess,
  encodeError,
  encodeReply,
  Header,
  HEADER_SIZE,
} from "../wire/index.js";
import type { DmaMaps } from "./dma.js";

/**
 * Carries out a command of the server, DMA_READ or DMA_WRITE.
 * @param limit the client's max_data_xfer_size
 * @returns the answer, an error where it has to be one
 */
export function answerDma(message: Uint8Array, maps: DmaMaps, limit: number): Uint8Array {
  const { msg_id, cmd } = Header.decode(message);
  try {
    return carryOut(message, maps, limit);
  } catch (error) {
    return encodeError(cmd, msg_id, errnoOf(error));
  }
}

/** @throws VfioError that says what to answer */
function carryOut(message: Uint8Array, maps: DmaMaps, limit: number): Uint8Array {
  const request = decodeMessage(message);
  const { msg_id, command } = request;
  if (request.kind !== "request" || (command !== "DMA_READ" && command !== "DMA_WRITE")) {
    throw new VfioError("EINVAL", `${command} is not for a client`);
  }
  const { address, count } = request.payload as DmaAccess;
  if (count > BigInt(limit))
    throw new VfioError("E2BIG", `count is ${count}: max_data_xfer_size is ${limit}`);
  if (command === "DMA_READ") {
    const data = new Uint8Array(Number(count));
    const errno = maps.access(address, data, "read");
    return errno
      ? encodeError(Command.DMA_READ, msg_id, errno)
      : encodeReply("DMA_READ", msg_id, { address, count, data });
  }
  const data = message.subarray(HEADER_SIZE + DmaAccess.size);
  const errno = maps.access(address, data, "write");
  if (errno) return encodeError(Command.DMA_WRITE, msg_id, errno);
  return encodeReply("DMA_WRITE", msg_id, { written: { address, count } });
}
