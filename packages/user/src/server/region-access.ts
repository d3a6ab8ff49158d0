import { VfioError } from "@vfiokit/core";
import {
  Command,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  readU64AsNumber,
  RegionAccess,
  Type,
  writeU64FromNumber,
} from "../wire/index.js";
import type { Inbox, Outbox } from "../socket/index.js";
import type { Handler, Session } from "./session.js";

const { offset: HEADER } = Header;
const { offset: ACCESS } = RegionAccess;
const ACCESS_SIZE = RegionAccess.size;

/**
 * REGION_READ and REGION_WRITE, the hot path: parsed in the receive buffer, answered in the send buffer, without
 * an object, a bigint or a promise of ours on the way.
 */
export class RegionAccesses {
  constructor(
    private readonly inbox: Inbox,
    private readonly outbox: Outbox,
  ) {}

  /**
   * Carries out the access at the inbox's head.
   * @returns undefined when it is done and answered; a promise when it had to wait
   * @throws VfioError, and nothing was answered (or rejects)
   */
  run(session: Session, size: number): Promise<void> | undefined {
    const { view, head } = this.inbox;
    const noReply = (view.getUint32(head + HEADER.flags, true) & HeaderFlags.NO_REPLY) !== 0;
    const isRead = view.getUint16(head + HEADER.cmd, true) === Command.REGION_READ;
    if (size < HEADER_SIZE + ACCESS_SIZE)
      throw new VfioError(
        "EINVAL",
        `a region access of ${size} bytes: ${HEADER_SIZE + ACCESS_SIZE} at least`,
      );
    const offset = readU64AsNumber(view, head + HEADER_SIZE + ACCESS.offset);
    const region = view.getUint32(head + HEADER_SIZE + ACCESS.region, true);
    const count = view.getUint32(head + HEADER_SIZE + ACCESS.count, true);
    if (offset < 0) throw new VfioError("EINVAL", `region ${region}: its offset is 2^53 or more`);
    if (count > session.settings.maxDataXferSize)
      throw new VfioError(
        "EINVAL",
        `count ${count}: max_data_xfer_size is ${session.settings.maxDataXferSize}`,
      );
    return isRead
      ? this.#read(session, head, offset, region, count, noReply)
      : this.#write(session, head, size, offset, region, count, noReply);
  }

  #read(
    { device, task }: Session,
    head: number,
    offset: number,
    region: number,
    count: number,
    noReply: boolean,
  ): Promise<void> | undefined {
    const { outbox } = this;
    const at = outbox.reserve(HEADER_SIZE + ACCESS_SIZE + count);
    const reply = outbox.target;
    let wait;
    try {
      wait = device.readRegion(task, region, offset, count, reply.bytes, at + HEADER_SIZE + ACCESS_SIZE);
    } catch (error) {
      outbox.cancel();
      throw error;
    }
    this.#writeReply(reply.view, at, head, HEADER_SIZE + ACCESS_SIZE + count, offset, region, count);
    if (wait) return sendAfter(wait, outbox.detach(), noReply);
    if (noReply) outbox.cancel();
    else outbox.commit();
    return undefined;
  }

  #write(
    { device, task }: Session,
    head: number,
    size: number,
    offset: number,
    region: number,
    count: number,
    noReply: boolean,
  ): Promise<void> | undefined {
    const data = HEADER_SIZE + ACCESS_SIZE;
    if (size - data !== count)
      throw new VfioError("EINVAL", `count ${count}: the message holds ${size - data} bytes of data`);
    const wait = device.writeRegion(task, region, offset, count, this.inbox.bytes, head + data);
    if (wait) return this.#answerWriteAfter(wait, noReply, head, offset, region, count);
    if (!noReply) this.#answerWrite(head, offset, region, count);
    return undefined;
  }

  /** The command stays where it is in the inbox until it is done. */
  async #answerWriteAfter(
    wait: Promise<void>,
    noReply: boolean,
    head: number,
    offset: number,
    region: number,
    count: number,
  ): Promise<void> {
    await wait;
    if (!noReply) this.#answerWrite(head, offset, region, count);
  }

  #answerWrite(head: number, offset: number, region: number, count: number): void {
    const at = this.outbox.reserve(HEADER_SIZE + ACCESS_SIZE);
    this.#writeReply(this.outbox.target.view, at, head, HEADER_SIZE + ACCESS_SIZE, offset, region, count);
    this.outbox.commit();
  }

  #writeReply(
    reply: DataView,
    at: number,
    head: number,
    size: number,
    offset: number,
    region: number,
    count: number,
  ): void {
    const request = this.inbox.view;
    // msg_id and cmd are the request's.
    reply.setUint32(at + HEADER.msg_id, request.getUint32(head + HEADER.msg_id, true), true);
    reply.setUint32(at + HEADER.msg_size, size, true);
    reply.setUint32(at + HEADER.flags, Type.REPLY, true);
    reply.setUint32(at + HEADER.error_no, 0, true);
    writeU64FromNumber(reply, at + HEADER_SIZE + ACCESS.offset, offset);
    reply.setUint32(at + HEADER_SIZE + ACCESS.region, region, true);
    reply.setUint32(at + HEADER_SIZE + ACCESS.count, count, true);
  }
}

// Functions of their own: a closure in the hot path would cost an allocation on every access.
async function sendAfter(wait: Promise<void>, send: () => void, noReply: boolean): Promise<void> {
  await wait;
  if (!noReply) send();
}

/**
 * REGION_WRITE_MULTI: the writes in order, up to the first that fails. The reply says how many were done; none is
 * an error.
 */
export const regionWriteMulti: Handler<"REGION_WRITE_MULTI"> = async ({ device, task, peer }, { wrs }) => {
  if (!peer.writeMultiple)
    throw new VfioError("EINVAL", "REGION_WRITE_MULTI: write_multiple was not negotiated");
  let done = 0;
  try {
    for (const { offset, region, count, data } of wrs) {
      if (offset > Number.MAX_SAFE_INTEGER)
        throw new VfioError("EINVAL", `region ${region}: its offset is 2^53 or more`);
      const wait = device.writeRegion(task, region, Number(offset), count, data, 0);
      if (wait) await wait;
      done++;
    }
  } catch (error) {
    if (done === 0) throw error;
  }
  return { payload: { wr_cnt: BigInt(done) } };
};
