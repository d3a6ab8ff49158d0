// Over 300 lines: requests, answers and the server of the moment share the gate, the sockets and whether it is over.

import { errnoOf, VfioError } from "@vfiokit/core";
import { reactor, socketPair, SyscallError, type Fd } from "../linux/index.js";
import type { Log } from "../server/options.js";
import {
  Command,
  decodeMessage,
  encodeError,
  encodeReply,
  messageType,
  Type,
  WireError,
  type RequestPayload,
} from "../wire/index.js";
import { MessageSocket, protocolError, type Inbox } from "../socket/index.js";
import { ClientRequests, dropRequests } from "./client-requests.js";
import type { DeviceShape } from "./compare.js";
import { firstServer, type FirstServer } from "./first-server.js";
import { answerFor, nextProposal, proposalFor } from "./negotiation.js";
import { MAX_MESSAGE, MAX_MSG_FDS, type LinkUser, type ServerLink } from "./server-link.js";
import { ServerCommands } from "./server-commands.js";
import { Stall } from "./stall.js";

export interface SessionHost {
  readonly log: Log;
  /** Milliseconds in which a client has to propose a version. */
  readonly versionTimeout: number;
  /** Milliseconds that a request may wait for its answer. */
  readonly replyLimit: number;
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
  readonly requests: ClientRequests;

  readonly #client: MessageSocket;
  /** The client's socket for commands of the server, where it has one. */
  #twin: MessageSocket | undefined;
  #link: ServerLink | undefined;
  #gate: Gate = "held";
  readonly #fromServer = new ServerCommands();
  /** What is proposed to the next server. */
  #proposal: RequestPayload<"VERSION"> | undefined;
  #negotiating = false;
  #busy: Promise<unknown> | undefined;
  #shape: DeviceShape | undefined;
  #whenDrained: (() => void) | undefined;
  readonly #stall: Stall;
  #ended = false;
  #settle!: () => void;

  /** Serves the client on `fd`, which the session takes over. */
  constructor(
    fd: Fd,
    private readonly host: SessionHost,
  ) {
    this.closed = new Promise((resolve) => (this.#settle = resolve));
    this.#client = this.#clientSocket(fd, "the client");
    this.#client.expect("VERSION", host.versionTimeout);
    this.requests = new ClientRequests(this.#client, host.log);
    this.#stall = new Stall(host.replyLimit, {
      link: () => this.#link,
      onOverdue: (link) => this.#onOverdue(link),
    });
  }

  /** The connection to the server; undefined before there is one, and after it was lost. */
  get link(): ServerLink | undefined {
    return this.#link;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The client has gone, though that may not have been noticed yet. */
  isOver(): boolean {
    return this.#ended || this.#client.hungUp;
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
    this.#fromServer.orphan();
    this.#link?.attach(undefined);
    this.#link = link;
    link?.attach(this);
  }

  /** Ends the connections to both sides. */
  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.host.log("info", `connection ended: ${reason}`);
    this.#client.close();
    this.#twin?.close();
    this.#link?.close();
    this.#stall.close();
    if (this.#link) dropRequests(this.#link.inFlight);
    this.requests.setup.close();
    this.#whenDrained?.();
    this.#settle();
  }

  #clientSocket(fd: Fd, name: string): MessageSocket {
    const socket: MessageSocket = new MessageSocket(fd, name, MAX_MESSAGE, MAX_MSG_FDS, {
      onMessages: () => this.#onClient(socket),
      onUnblocked: () => this.#link?.wake(),
      onEnd: (reason) => {
        if (socket === this.#client) this.#sayWhy(reason);
        this.end(reason.message);
      },
    });
    return socket;
  }

  /**
   * A client that sends what no message can be is answered before the connection ends: where an end takes the place of the
   * answer to VERSION, QEMU aborts.
   */
  #sayWhy(reason: VfioError): void {
    const underWay = this.#negotiating && !this.#proposal;
    if (underWay || !(reason instanceof WireError || reason.code === "EPROTO")) return;
    this.requests.refuse(reason.code);
    this.#client.flush();
  }

  #onClient(socket: MessageSocket): boolean {
    const { inbox } = socket;
    let any = false;
    while (this.#isOpen()) {
      const size = inbox.next();
      if (size === 0) break;
      const type = messageType(inbox.view, inbox.head);
      if (type === Type.REPLY) this.#onAnswer(inbox, inbox.head, size);
      else if (socket === this.#twin)
        throw protocolError("a command on the socket for commands of the server");
      else if (!this.#proposal) {
        if (this.#negotiating) break;
        this.#onVersion(size);
      } else if (type !== Type.COMMAND) this.requests.refuse("EINVAL");
      else if (this.#gate === "refusing" || this.#stall.refuses(inbox)) this.requests.refuse("EIO");
      else if (!this.#mayForward()) break;
      else this.requests.forward(this.#link!, size, this.#busy !== undefined);
      if (!this.#isOpen()) return true;
      inbox.drop(size);
      any = true;
    }
    // Requests that wait must not keep the server from answers that it is waiting for.
    if (!this.#ended && this.#gate === "held" && this.#fromServer.count > 0)
      inbox.takeFrom((at, size) => {
        if (messageType(inbox.view, at) !== Type.REPLY) return false;
        this.#onAnswer(inbox, at, size);
        return true;
      });
    this.#link?.flush();
    if (any) this.#client.flush();
    return any;
  }

  /** The server has stopped, or hangs: the client would give up soon. */
  #onOverdue(link: ServerLink): void {
    this.host.log(
      "warn",
      `${link.path} has not answered within ${this.host.replyLimit} ms: its requests fail`,
    );
    this.requests.abandonAll(link);
    this.#client.wake();
  }

  #isOpen(): boolean {
    return !this.#ended;
  }

  #mayForward(): boolean {
    const link = this.#link;
    return this.#gate === "open" && link !== undefined && !link.main.blocked && !link.inFlight.full;
  }

  #onAnswer(inbox: Inbox, at: number, size: number): void {
    const wasFull = this.#fromServer.full;
    this.#fromServer.answer(inbox, at, size);
    if (wasFull) this.#link?.wake();
    this.#checkDrained();
  }

  /** vfio-user: the first message is VERSION. */
  #onVersion(size: number): void {
    const { inbox } = this.#client;
    const message = decodeMessage(inbox.message(size).slice());
    if (message.kind !== "request" || message.command !== "VERSION")
      throw protocolError(`the first message is ${message.command}, not VERSION`);
    this.#client.expect("VERSION", undefined);
    this.#negotiating = true;
    reactor.yield();
    void this.#negotiate(message.msg_id, proposalFor(message.payload));
  }

  async #negotiate(id: number, proposal: RequestPayload<"VERSION">): Promise<void> {
    let first: FirstServer | undefined;
    try {
      first = await firstServer(this.host.connect(proposal), this.host.replyLimit);
      if (!this.#ended) this.#begin(id, proposal, first);
      else first.link.close();
    } catch (error) {
      first?.link.close();
      if (this.#ended) return;
      const errno = error instanceof SyscallError ? error.errno : errnoOf(error);
      this.#client.send(encodeError(Command.VERSION, id, errno));
      this.end(`no server: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Answers VERSION. @throws SyscallError EMFILE: no descriptors for the client's second socket */
  #begin(id: number, proposal: RequestPayload<"VERSION">, { link, shape }: FirstServer): void {
    this.#shape = shape;
    const twin = link.hasTwin ? socketPair() : undefined;
    try {
      const answer = answerFor(link.version, twin !== undefined);
      if (twin) this.#twin = this.#clientSocket(twin[0], "the client's second socket");
      this.#client.send(encodeReply("VERSION", id, answer), twin && [twin[1]]);
      this.#proposal = nextProposal(proposal, answer);
    } catch (error) {
      if (!this.#twin) twin?.[0].close();
      throw error;
    } finally {
      twin?.[1].close();
    }
    // The client may have gone meanwhile: `send` learns it.
    if (this.#ended) link.close();
    else this.use(link);
    this.release();
  }

  get clientBlocked(): boolean {
    return this.#client.blocked || this.#twin?.blocked === true || this.#fromServer.full;
  }

  onReply(link: ServerLink, { inbox }: MessageSocket, slot: number, size: number): void {
    const wasFull = link.inFlight.full;
    const late = link.inFlight.isAbandoned(slot);
    this.requests.reply(link, inbox, slot, size);
    if (late && link.inFlight.abandonedCount === 0) this.host.log("info", `${link.path} answers again`);
    if (wasFull) this.#client.wake();
    this.#checkDrained();
  }

  onCommand(_link: ServerLink, socket: MessageSocket, size: number): void {
    this.#fromServer.forward(socket, size, this.#twin ?? this.#client);
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
    this.#fromServer.orphan();
    this.#link = undefined;
    this.#whenDrained?.();
    this.host.onServerLost(this, link, reason);
  }

  #checkDrained(): void {
    if (!this.#whenDrained) return;
    const owed = (this.#link?.inFlight.count ?? 0) + this.#fromServer.owed;
    if (owed > 0) return;
    reactor.yield();
    this.#whenDrained();
    this.#whenDrained = undefined;
  }
}
