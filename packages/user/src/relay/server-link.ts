import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import {
  capabilityDefaults,
  encodeRequest,
  Header,
  messageType,
  Type,
  type Capabilities,
  type CommandName,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import { MessageSocket, Outstanding, protocolError, type TakeReply } from "../socket/index.js";
import { payloadOf } from "../client/connection.js";
import { acceptVersion } from "../client/negotiate.js";
import { InFlight, MAX_IN_FLIGHT } from "./in-flight.js";

/** Largest transfer that the relay passes on: what both sides are told, whatever they could do. Bytes. */
export const MAX_DATA_XFER = 1024 * 1024;
/** Most descriptors in a message: QEMU's own limit. */
export const MAX_MSG_FDS = 16;
/** Headers, and replies that are no data transfers (capabilities of a region, JSON). */
const MESSAGE_ROOM = 64 * 1024;
export const MAX_MESSAGE = MAX_DATA_XFER + MESSAGE_ROOM;

/** Who uses a link: the session of a client. */
export interface LinkUser {
  /** The answer to a request of the client, at the head of `socket`'s inbox. */
  onReply(link: ServerLink, socket: MessageSocket, slot: number, size: number): void;
  /** A command of the server. */
  onCommand(link: ServerLink, socket: MessageSocket, size: number): void;
  /** The client does not read: take nothing more from the server. */
  readonly clientBlocked: boolean;
  /** The server takes requests again. */
  onServerUnblocked(): void;
  /** All that had arrived was handed over. */
  flushClient(): void;
  onServerEnd(link: ServerLink, reason: VfioError): void;
}

/** Longest wait for the answer to a command of the relay's own, in milliseconds. */
const CALL_TIMEOUT_MS = 30_000;

/** The relay's connection to one server: the client's requests go over it, and the relay's own between them. */
export class ServerLink {
  readonly main: MessageSocket;
  #twin: MessageSocket | undefined;
  /** Requests of the client. */
  readonly inFlight = new InFlight();
  /** Of the device in that very server process, where it tells: another one has lost what this one had. */
  instance: string | undefined;
  #user: LinkUser | undefined;
  /** Commands of the relay's own. */
  readonly #calls: Outstanding;
  #ended: VfioError | undefined;
  /** The server's answer to VERSION. */
  #version: ReplyPayload<"VERSION"> | undefined;

  private constructor(
    fd: Fd,
    readonly path: string,
  ) {
    this.#calls = new Outstanding(this.#name, MAX_IN_FLIGHT);
    this.main = this.#socket(fd);
  }

  /**
   * Negotiates with the server at the other end of `fd`, which is taken.
   * @throws ReplyError: the server refuses; VfioError EPROTO, ECONNRESET, ETIMEDOUT
   */
  static async open(
    fd: Fd,
    path: string,
    version: RequestPayload<"VERSION">,
    timeoutMs: number,
  ): Promise<ServerLink> {
    const link = new ServerLink(fd, path);
    try {
      const proposal = {
        maxMsgFds: MAX_MSG_FDS,
        maxDataXferSize: MAX_DATA_XFER,
        twinSocket: version.data?.capabilities?.twin_socket?.supported === true,
      };
      link.#version = await link.#call("VERSION", version, [], timeoutMs, (message, _view, fds) => {
        const payload = payloadOf("VERSION", message.slice());
        const { twin } = acceptVersion(payload, fds, proposal);
        if (twin) link.#twin = link.#socket(twin);
        return payload;
      });
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  get version(): ReplyPayload<"VERSION"> {
    return this.#version!;
  }

  get capabilities(): Capabilities {
    return { ...capabilityDefaults, ...this.#version!.data?.capabilities };
  }

  get hasTwin(): boolean {
    return this.#twin !== undefined;
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** From here on the server's messages go to `user`. What came before it is handed over now. */
  attach(user: LinkUser | undefined): void {
    this.#user = user;
    if (user && this.#ended) user.onServerEnd(this, this.#ended);
    else if (user) this.wake();
  }

  /** Messages of the server that had to wait are taken. */
  wake(): void {
    if (this.#ended) return;
    this.main.wake();
    this.#twin?.wake();
  }

  flush(): void {
    this.main.flush();
    this.#twin?.flush();
  }

  /** Sends a command of the relay's own and waits for its reply. Descriptors stay the caller's. */
  call<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly Fd[] = [],
  ): Promise<ReplyPayload<C>> {
    return this.#call(command, payload, fds, CALL_TIMEOUT_MS, (message) =>
      payloadOf(command, message.slice()),
    );
  }

  /** The server is not needed any more. */
  close(reason = new VfioError("ECANCELED", "the relay closed the connection")): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.main.close();
    this.#twin?.close();
    this.#calls.fail(reason);
  }

  get #name(): string {
    return `the server at ${this.path}`;
  }

  async #call<C extends CommandName, T>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly Fd[],
    timeoutMs: number,
    take: TakeReply<T>,
  ): Promise<T> {
    if (this.#ended) throw this.#ended;
    const send = (id: number): void => this.main.send(encodeRequest(command, id, payload), fds);
    return this.#calls.request(command, { timeoutMs }, send, take);
  }

  #socket(fd: Fd): MessageSocket {
    const socket: MessageSocket = new MessageSocket(fd, this.#name, MAX_MESSAGE, MAX_MSG_FDS, {
      onMessages: () => this.#onMessages(socket),
      onUnblocked: () => this.#user?.onServerUnblocked(),
      onEnd: (reason) => {
        this.close(reason);
        this.#user?.onServerEnd(this, reason);
      },
    });
    return socket;
  }

  #onMessages(socket: MessageSocket): boolean {
    const { inbox } = socket;
    let any = false;
    while (this.#isOpen() && !this.#user?.clientBlocked) {
      const size = inbox.next();
      if (size === 0) break;
      const { view, head } = inbox;
      const type = messageType(view, head);
      const id = view.getUint16(head + Header.offset.msg_id, true);
      if (type === Type.COMMAND) {
        // Commands wait for a client to serve them.
        if (!this.#user) break;
        this.#user.onCommand(this, socket, size);
      } else if (type !== Type.REPLY) throw protocolError(`a message of type ${type}`);
      else if (id >= MAX_IN_FLIGHT) this.#onOwnReply(socket, size);
      else this.#onClientsReply(socket, id, size);
      if (!this.#isOpen()) return true;
      inbox.drop(size);
      any = true;
    }
    if (any) this.#user?.flushClient();
    return any;
  }

  #isOpen(): boolean {
    return this.#ended === undefined;
  }

  #onClientsReply(socket: MessageSocket, slot: number, size: number): void {
    const { view, head } = socket.inbox;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    if (!this.inFlight.has(slot) || this.inFlight.commandOf(slot) !== cmd)
      throw protocolError(`a reply ${slot} to command ${cmd}, which was not sent`);
    this.#user!.onReply(this, socket, slot, size);
  }

  #onOwnReply({ inbox }: MessageSocket, size: number): void {
    const message = inbox.message(size);
    if (this.#calls.reply(message, inbox.view, inbox.fdsOf(size).fds)) return;
    const { msg_id, cmd } = Header.decode(message);
    throw protocolError(`a reply ${msg_id} to command ${cmd}, which was not sent`);
  }
}
