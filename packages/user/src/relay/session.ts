import { Errno, VfioError } from "@vfiokit/core";
import { reactor, socketPair, type Fd } from "../linux/index.js";
import type { Log } from "../server/options.js";
import {
  Command,
  commandName,
  decodeMessage,
  encodeError,
  encodeReply,
  Feature,
  FEATURE_MASK,
  FeatureFlags,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  Type,
  TYPE_MASK,
  type RequestPayload,
} from "../wire/index.js";
import { protocolError } from "../client/errors.js";
import { InFlight } from "./in-flight.js";
import { shapeOf, type DeviceShape } from "./compare.js";
import { ConfigShadow } from "./config-shadow.js";
import { Ledger } from "./ledger.js";
import { answerFor, nextProposal, proposalFor } from "./negotiation.js";
import { Port } from "./port.js";
import { MAX_MESSAGE, MAX_MSG_FDS, type LinkUser, type ServerLink } from "./server-link.js";
import { maySendAgain } from "./send-again.js";
import { isStateful, statefulRequest } from "./stateful.js";

export interface SessionHost {
  readonly log: Log;
  /** Milliseconds in which a client has to propose a version. */
  readonly versionTimeout: number;
  /** Connects to the server of the moment. */
  connect(version: RequestPayload<"VERSION">): Promise<ServerLink>;
  /** The server of a session has gone. */
  onServerLost(session: Session, lost: ServerLink, reason: VfioError): void;
}

/**
 * What happens to the client's requests: they go to the server; they wait (a stop, a server that has gone); they are
 * answered with an error, where they have waited too long.
 */
export type Gate = "open" | "held" | "refusing";

/**
 * One client of the relay, from its connection to its end. Requests of the client go to the server of the moment under
 * ids of the relay, replies come back under the client's, and the same the other way round for the server's own
 * commands. Accesses to regions are forwarded as they are, without an allocation.
 */
export class Session implements LinkUser {
  /** Settles when everything of the session is released. */
  readonly closed: Promise<void>;
  readonly ledger = new Ledger();
  readonly config = new ConfigShadow();
  /** Requests of the client that may have changed the device since this was last set to false. */
  touched = false;

  readonly #client: Port;
  /** The client's socket for commands of the server, where it has one. */
  #twin: Port | undefined;
  #link: ServerLink | undefined;
  #gate: Gate = "held";
  /** Commands of servers that the client has, and to whom each answer goes: nobody, when its server has gone. */
  readonly #fromServer = new InFlight();
  readonly #askedBy: (Port | undefined)[] = [];
  /** What is proposed to the next server. */
  #proposal: RequestPayload<"VERSION"> | undefined;
  #negotiating = false;
  #busy: Promise<unknown> | undefined;
  #shape: DeviceShape | undefined;
  #whenDrained: (() => void) | undefined;
  #ended = false;
  #settle!: () => void;
  readonly #versionTimer: NodeJS.Timeout;

  /** Serves the client on `fd`, which the session takes over. */
  constructor(
    fd: Fd,
    private readonly host: SessionHost,
  ) {
    this.closed = new Promise((resolve) => (this.#settle = resolve));
    this.#client = this.#clientPort(fd, "the client");
    this.#versionTimer = setTimeout(
      () => this.end(`no VERSION within ${host.versionTimeout} ms`),
      host.versionTimeout,
    );
  }

  /** The connection to the server; undefined before there is one, and after it was lost. */
  get link(): ServerLink | undefined {
    return this.#link;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get gate(): Gate {
    return this.#gate;
  }

  /** What the client and its server have agreed on, to be proposed to another server. Once negotiated. */
  get proposal(): RequestPayload<"VERSION"> {
    return this.#proposal!;
  }

  /** What the client was told of its device. Once negotiated. */
  get shape(): DeviceShape {
    return this.#shape!;
  }

  /** What of the relay's own goes on for the session: a move, a snapshot. */
  get busy(): Promise<unknown> | undefined {
    return this.#busy;
  }

  /** Runs a move or a snapshot, which has the migration features of the device to itself. Not while one runs. */
  async exclusively<T>(run: () => Promise<T>): Promise<T> {
    if (this.#busy) throw new VfioError("EBUSY", "the relay uses the device's migration features already");
    const running = run();
    this.#busy = running.catch(() => undefined);
    try {
      return await running;
    } finally {
      this.#busy = undefined;
    }
  }

  /** From here on requests of the client wait, in order. Answers to what the server asks go on. */
  hold(): void {
    this.#gate = "held";
  }

  /** What waits, and what comes, goes to the server. */
  release(): void {
    this.#gate = "open";
    this.#client.wake();
  }

  /** What waits, and what comes, is answered with an error. */
  refuse(): void {
    this.#gate = "refusing";
    this.#client.wake();
  }

  /** Fulfilled when neither side owes the other an answer; also when the server has gone, or the client. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenDrained = resolve;
      this.#checkDrained();
    });
  }

  /** The client's requests go to another server from here on. Answers to questions of the last one go nowhere. */
  use(link: ServerLink | undefined): void {
    for (const slot of this.#fromServer.slots()) this.#askedBy[slot] = undefined;
    this.#link?.attach(undefined);
    this.#link = link;
    link?.attach(this);
  }

  /** Answers a request of the client with an error, in the server's stead. */
  answerError(cmd: number, id: number, errno: number): void {
    this.#client.send(encodeError(cmd, id, errno));
    this.#client.flush();
  }

  /** Ends the connections to both sides. */
  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#versionTimer);
    this.host.log("info", `connection ended: ${reason}`);
    this.#client.close();
    this.#twin?.close();
    this.#link?.close();
    if (this.#link) dropRequests(this.#link.inFlight);
    this.ledger.close();
    this.#whenDrained?.();
    this.#settle();
  }

  // The client's side.

  #clientPort(fd: Fd, name: string): Port {
    const port: Port = new Port(fd, name, MAX_MESSAGE, MAX_MSG_FDS, {
      onMessages: () => this.#onClient(port),
      onUnblocked: () => this.#link?.wake(),
      onEnd: (reason) => this.end(reason.message),
    });
    return port;
  }

  #onClient(port: Port): boolean {
    const { inbox } = port;
    let any = false;
    while (this.#isOpen()) {
      const size = inbox.next();
      if (size === 0) break;
      const type = inbox.view.getUint32(inbox.head + Header.offset.flags, true) & TYPE_MASK;
      if (type === Type.REPLY) this.#onAnswer(port, inbox.head, size);
      else if (type !== Type.COMMAND) throw protocolError(`a message of type ${type}`);
      else if (port === this.#twin) throw protocolError("a command on the socket for commands of the server");
      else if (!this.#proposal) {
        if (this.#negotiating) break;
        this.#onVersion(size);
      } else if (this.#gate === "refusing") this.#refuseFirst("EIO");
      else if (!this.#mayForward()) break;
      else this.#onRequest(size);
      if (!this.#isOpen()) return true;
      inbox.drop(size);
      any = true;
    }
    // Requests that wait must not keep the server from answers that it is waiting for.
    if (!this.#ended && this.#gate === "held" && this.#fromServer.count > 0)
      inbox.takeFrom((at, size) => this.#takeAnswer(port, at, size));
    this.#link?.flush();
    if (any) this.#client.flush();
    return any;
  }

  #isOpen(): boolean {
    return !this.#ended;
  }

  #mayForward(): boolean {
    const link = this.#link;
    return this.#gate === "open" && link !== undefined && !link.main.blocked && !link.inFlight.full;
  }

  /** A request at the head of the inbox goes to the server. */
  #onRequest(size: number): void {
    const { inbox } = this.#client;
    const { view, head } = inbox;
    const link = this.#link!;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    this.touched = true;
    if (cmd === Command.REGION_WRITE) this.config.note(inbox.bytes, view, head, size);
    if (isStateful(cmd)) {
      this.#onStatefulRequest(link, size);
    } else if (cmd === Command.VERSION) {
      this.#refuseFirst("EINVAL");
    } else if (this.#busy && (cmd === Command.MIG_DATA_READ || cmd === Command.MIG_DATA_WRITE)) {
      this.#refuseFirst("EBUSY");
    } else if (view.getUint32(head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) {
      link.main.pass(inbox, size, view.getUint16(head + Header.offset.msg_id, true));
    } else {
      link.main.pass(inbox, size, link.inFlight.add(inbox, size));
    }
  }

  #onStatefulRequest(link: ServerLink, size: number): void {
    const { inbox } = this.#client;
    const message = inbox.bytes.slice(inbox.head, inbox.head + size);
    const attached = inbox.hasFds ? inbox.fdsOf(size) : { fds: [], lost: false };
    try {
      if (attached.lost) throw new VfioError("EINVAL", `too many descriptors: max_msg_fds is ${MAX_MSG_FDS}`);
      if (this.#busy && setsMigrationState(message))
        throw new VfioError("EBUSY", "the device is being migrated by its relay");
      const request = statefulRequest(message, attached.fds, this.ledger);
      this.#sendStateful(link, link.inFlight.add(inbox, size, request));
    } catch (error) {
      for (const fd of attached.fds) fd.close();
      if (!(error instanceof VfioError)) throw error;
      this.host.log("debug", error.message);
      this.#refuseFirst(error.code);
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
      if (!message || !maySendAgain(message)) {
        this.answerLost(lost, slot);
        continue;
      }
      const next = link.inFlight.addFrom(message, 0, message.length, stateful);
      if (stateful) this.#sendStateful(link, next);
      else {
        new DataView(message.buffer, message.byteOffset).setUint16(Header.offset.msg_id, next, true);
        link.main.send(message);
      }
      lost.remove(slot);
    }
    link.flush();
  }

  /** Answers a request that no server will answer with an error. */
  answerLost(lost: InFlight, slot: number): void {
    const stateful = lost.statefulOf(slot);
    for (const fd of stateful?.fds ?? []) fd.close();
    if (!stateful?.quiet) this.#client.send(encodeError(lost.commandOf(slot), lost.idOf(slot), Errno.EIO));
    this.#client.flush();
    lost.remove(slot);
  }

  /** Sends a request that was kept: with a reply asked for, since the relay has to know. */
  #sendStateful(link: ServerLink, slot: number): void {
    const { message, fds } = link.inFlight.statefulOf(slot)!;
    const copy = message.slice();
    const view = new DataView(copy.buffer);
    view.setUint16(Header.offset.msg_id, slot, true);
    const flags = view.getUint32(Header.offset.flags, true);
    view.setUint32(Header.offset.flags, flags & ~HeaderFlags.NO_REPLY, true);
    link.main.send(copy, fds);
  }

  /** Answers the request at the head of the inbox with an error. */
  #refuseFirst(code: VfioError["code"]): void {
    const { view, head } = this.#client.inbox;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    if (view.getUint32(head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) return;
    const id = view.getUint16(head + Header.offset.msg_id, true);
    this.#client.send(encodeError(cmd, id, new VfioError(code, commandName(cmd) ?? `${cmd}`).errno));
  }

  /** An answer of the client to a command of the server. */
  #onAnswer(port: Port, at: number, size: number): void {
    const { inbox } = port;
    const slot = inbox.view.getUint16(at + Header.offset.msg_id, true);
    const cmd = inbox.view.getUint16(at + Header.offset.cmd, true);
    if (!this.#fromServer.has(slot) || this.#fromServer.commandOf(slot) !== cmd)
      throw protocolError(`an answer ${slot} to command ${cmd}, which was not sent`);
    const id = this.#fromServer.idOf(slot);
    const asker = this.#askedBy[slot];
    const wasFull = this.#fromServer.full;
    this.#fromServer.remove(slot);
    this.#askedBy[slot] = undefined;
    if (asker && !asker.closed) {
      asker.passAt(inbox, at, size, id);
      asker.flush();
    }
    if (wasFull) this.#link?.wake();
    this.#checkDrained();
  }

  #takeAnswer(port: Port, at: number, size: number): boolean {
    const type = port.inbox.view.getUint32(at + Header.offset.flags, true) & TYPE_MASK;
    if (type !== Type.REPLY) return false;
    this.#onAnswer(port, at, size);
    return true;
  }

  /** vfio-user: the first message is VERSION. */
  #onVersion(size: number): void {
    const { inbox } = this.#client;
    const message = decodeMessage(inbox.bytes.slice(inbox.head, inbox.head + size));
    if (message.kind !== "request" || message.command !== "VERSION")
      throw protocolError(`the first message is ${message.command}, not VERSION`);
    clearTimeout(this.#versionTimer);
    this.#negotiating = true;
    reactor.yield();
    void this.#negotiate(message.msg_id, proposalFor(message.payload));
  }

  async #negotiate(id: number, proposal: RequestPayload<"VERSION">): Promise<void> {
    let link: ServerLink | undefined;
    try {
      link = await this.host.connect(proposal);
      this.#shape = await shapeOf(link);
    } catch (error) {
      link?.close();
      if (this.#ended) return;
      this.answerError(Command.VERSION, id, error instanceof VfioError ? error.errno : 0);
      this.end(`no server: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    if (this.#ended) {
      link.close();
      return;
    }
    const twin = link.hasTwin ? socketPair() : undefined;
    if (twin) this.#twin = this.#clientPort(twin[0], "the client's second socket");
    const answer = answerFor(link.version, twin !== undefined);
    this.#client.give(encodeReply("VERSION", id, answer), twin ? [twin[1]] : []);
    this.#client.flush();
    this.#proposal = nextProposal(proposal, answer);
    this.use(link);
    this.release();
  }

  // The server's side.

  get clientBlocked(): boolean {
    return this.#client.blocked || this.#twin?.blocked === true || this.#fromServer.full;
  }

  onReply(link: ServerLink, port: Port, slot: number, size: number): void {
    const { inFlight } = link;
    const id = inFlight.idOf(slot);
    const stateful = inFlight.statefulOf(slot);
    const wasFull = inFlight.full;
    if (!stateful) {
      this.#client.pass(port.inbox, size, id);
    } else {
      const { inbox } = port;
      const reply = inbox.bytes.slice(inbox.head, inbox.head + size);
      const instead = stateful.onReply(decodeMessage(reply));
      for (const fd of stateful.fds) fd.close();
      new DataView(reply.buffer).setUint16(Header.offset.msg_id, id, true);
      if (!stateful.quiet) this.#client.send(instead ?? reply);
    }
    inFlight.remove(slot);
    if (wasFull) this.#client.wake();
    this.#checkDrained();
  }

  onCommand(_link: ServerLink, port: Port, size: number): void {
    const { inbox } = port;
    const to = this.#twin ?? this.#client;
    if (inbox.view.getUint32(inbox.head + Header.offset.flags, true) & HeaderFlags.NO_REPLY) {
      to.pass(inbox, size, inbox.view.getUint16(inbox.head + Header.offset.msg_id, true));
      return;
    }
    const slot = this.#fromServer.add(inbox, size);
    this.#askedBy[slot] = port;
    to.pass(inbox, size, slot);
  }

  onServerUnblocked(): void {
    this.#client.wake();
  }

  flushClient(): void {
    this.#client.flush();
    this.#twin?.flush();
  }

  onServerEnd(link: ServerLink, reason: VfioError): void {
    if (link !== this.#link || this.#ended) return;
    this.#gate = "held";
    for (const slot of this.#fromServer.slots()) this.#askedBy[slot] = undefined;
    this.#link = undefined;
    this.#whenDrained?.();
    this.host.onServerLost(this, link, reason);
  }

  #checkDrained(): void {
    if (!this.#whenDrained) return;
    const owed = (this.#link?.inFlight.count ?? 0) + this.#askedBy.filter((asker) => asker).length;
    if (owed > 0) return;
    reactor.yield();
    this.#whenDrained();
    this.#whenDrained = undefined;
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
