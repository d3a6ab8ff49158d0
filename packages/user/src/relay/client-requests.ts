import { Errno, RegionIndex, VfioError } from "@vfiokit/core";
import type { Log } from "../server/options.js";
import type { Inbox, MessageSocket } from "../socket/index.js";
import {
  Command,
  commandName,
  decodeMessage,
  encodeError,
  Feature,
  FEATURE_MASK,
  FeatureFlags,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  RegionAccess,
  refusalText,
} from "../wire/index.js";
import { ConfigShadow } from "./config-shadow.js";
import type { InFlight } from "./in-flight.js";
import { ClientSetup } from "./client-setup.js";
import { maySendAgain } from "./send-again.js";
import { MAX_MSG_FDS, type ServerLink } from "./server-link.js";
import { isStateful, statefulRequest } from "./stateful.js";

/** The client's requests on their way to a server, and what is remembered of them for the next one. */
export class ClientRequests {
  readonly setup = new ClientSetup();
  readonly config = new ConfigShadow();
  /** Requests of the client that may have changed the device since this was last set to false. */
  touched = false;
  /**
   * The device has lost its state, and the client is being told: until it resets the device, what it writes to it is meant
   * for another state. A byte for the far end would be sent with the speed and width of power-on.
   */
  lost = false;

  constructor(
    private readonly client: MessageSocket,
    private readonly log: Log,
  ) {}

  /**
   * The request at the head of the inbox goes to the server.
   * @param busy the relay has the device's migration features to itself
   */
  forward(link: ServerLink, size: number, busy: boolean): void {
    const { inbox } = this.client;
    const { view, head } = inbox;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    this.touched = true;
    if (this.lost && this.#isMeantForLost(cmd, view, head)) {
      this.refuse("EIO");
      return;
    }
    if (cmd === Command.REGION_WRITE) this.config.note(inbox.bytes, view, head, size);
    if (isStateful(cmd)) {
      this.#forwardStateful(link, size, busy);
    } else if (cmd === Command.VERSION) {
      this.refuse("EINVAL");
    } else if (busy && (cmd === Command.MIG_DATA_READ || cmd === Command.MIG_DATA_WRITE)) {
      this.refuse("EBUSY");
    } else if (view.getUint32(head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) {
      link.main.pass(inbox, head, size, view.getUint16(head + Header.offset.msg_id, true));
    } else {
      link.main.pass(inbox, head, size, link.inFlight.add(inbox, size));
    }
  }

  /** Writes to BARs. Configuration space goes on: by it the client finds out what became of the device. */
  #isMeantForLost(cmd: number, view: DataView, head: number): boolean {
    if (cmd === Command.DEVICE_RESET) this.lost = false;
    if (cmd === Command.REGION_WRITE_MULTI) return true;
    return (
      cmd === Command.REGION_WRITE &&
      view.getUint32(head + HEADER_SIZE + RegionAccess.offset.region, true) !== RegionIndex.CONFIG
    );
  }

  #forwardStateful(link: ServerLink, size: number, busy: boolean): void {
    const { inbox } = this.client;
    const message = inbox.message(size).slice();
    const attached = inbox.hasFds ? inbox.fdsOf(size) : { fds: [], lost: false };
    try {
      if (attached.lost) throw new VfioError("EINVAL", `too many descriptors: max_msg_fds is ${MAX_MSG_FDS}`);
      if (busy && setsMigrationState(message))
        throw new VfioError("EBUSY", "the device is being migrated by its relay");
      const request = statefulRequest(message, attached.fds, this.setup);
      this.#sendStateful(link, link.inFlight.add(inbox, size, request));
    } catch (error) {
      for (const fd of attached.fds) fd.close();
      if (!(error instanceof VfioError)) throw error;
      this.log("debug", refusalText(error, message));
      this.refuse(error.code);
    }
  }

  /**
   * Requests that `lost` has not answered: those that may be sent again go to `link`, the others are answered with an
   * error. docs/relay.md says which, and why.
   */
  sendAgain(lost: InFlight, link: ServerLink): void {
    for (const slot of lost.slots()) {
      const message = lost.messageOf(slot);
      const stateful = lost.statefulOf(slot);
      if (!message || lost.isAbandoned(slot) || !maySendAgain(message)) {
        this.answerLost(lost, slot);
        continue;
      }
      const next = link.inFlight.addFrom(message, 0, message.length, stateful);
      if (stateful) this.#sendStateful(link, next);
      else {
        new DataView(message.buffer, message.byteOffset).setUint16(Header.offset.msg_id, next, true);
        link.main.append(message);
      }
      lost.remove(slot);
    }
    link.flush();
  }

  /** Answers a request that no server will answer with an error. */
  answerLost(lost: InFlight, slot: number): void {
    for (const fd of lost.statefulOf(slot)?.fds ?? []) fd.close();
    this.#answerEio(lost, slot);
    lost.remove(slot);
  }

  /** Answers what the server has not answered in time with an error. Its own answers, when they come, go nowhere. */
  abandonAll({ inFlight }: ServerLink): void {
    for (const slot of inFlight.slots()) {
      if (inFlight.isAbandoned(slot)) continue;
      this.#answerEio(inFlight, slot);
      inFlight.abandon(slot);
    }
  }

  #answerEio(inFlight: InFlight, slot: number): void {
    if (inFlight.isAbandoned(slot) || inFlight.statefulOf(slot)?.quiet) return;
    this.client.send(encodeError(inFlight.commandOf(slot), inFlight.idOf(slot), Errno.EIO));
  }

  /** Sends a request that was kept: with a reply asked for, since the relay has to know. */
  #sendStateful(link: ServerLink, slot: number): void {
    const { message, fds } = link.inFlight.statefulOf(slot)!;
    const copy = message.slice();
    const view = new DataView(copy.buffer);
    view.setUint16(Header.offset.msg_id, slot, true);
    const flags = view.getUint32(Header.offset.flags, true);
    view.setUint32(Header.offset.flags, flags & ~HeaderFlags.NO_REPLY, true);
    link.main.append(copy, fds);
  }

  /** Answers the request at the head of the inbox with an error. */
  refuse(code: VfioError["code"]): void {
    const { view, head } = this.client.inbox;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    if (view.getUint32(head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) return;
    const id = view.getUint16(head + Header.offset.msg_id, true);
    this.client.append(encodeError(cmd, id, new VfioError(code, commandName(cmd) ?? `${cmd}`).errno));
  }

  /** The answer to a request, at the head of the server's inbox, goes to the client. */
  reply({ inFlight }: ServerLink, inbox: Inbox, slot: number, size: number): void {
    const id = inFlight.idOf(slot);
    const stateful = inFlight.statefulOf(slot);
    const wanted = !inFlight.isAbandoned(slot);
    if (!stateful) {
      if (wanted) this.client.pass(inbox, inbox.head, size, id);
    } else {
      const reply = inbox.message(size).slice();
      const instead = stateful.onReply(decodeMessage(reply), wanted && !stateful.quiet);
      for (const fd of stateful.fds) fd.close();
      new DataView(reply.buffer).setUint16(Header.offset.msg_id, id, true);
      if (wanted && !stateful.quiet) this.client.append(instead ?? reply);
    }
    inFlight.remove(slot);
  }
}

/** Releases what is kept of requests that nobody will answer. */
export function dropRequests(inFlight: InFlight): void {
  for (const slot of inFlight.slots()) {
    for (const fd of inFlight.statefulOf(slot)?.fds ?? []) fd.close();
    inFlight.remove(slot);
  }
}

/** DEVICE_FEATURE: SET of MIG_DEVICE_STATE. */
function setsMigrationState(message: Uint8Array): boolean {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (view.getUint16(Header.offset.cmd, true) !== Command.DEVICE_FEATURE || view.byteLength < HEADER_SIZE + 8)
    return false;
  const flags = view.getUint32(HEADER_SIZE + 4, true);
  return (flags & FeatureFlags.SET) !== 0 && (flags & FEATURE_MASK) === Feature.MIG_DEVICE_STATE;
}
