import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import {
  capabilityDefaults,
  Command,
  decodeMessage,
  encodeRequest,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  Type,
  TYPE_MASK,
  type Capabilities,
  type CommandName,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import { CommandError, protocolError } from "../client/errors.js";
import { acceptVersion } from "../client/negotiate.js";
import { InFlight, MAX_IN_FLIGHT } from "./in-flight.js";
import { Port } from "./port.js";

/** Largest transfer that the relay passes on: what both sides are told, whatever they could do. Bytes. */
export const MAX_DATA_XFER = 1024 * 1024;
/** Most descriptors in a message: QEMU's own limit. */
export const MAX_MSG_FDS = 16;
/** Headers, and replies that are no data transfers (capabilities of a region, JSON). */
const MESSAGE_ROOM = 64 * 1024;
export const MAX_MESSAGE = MAX_DATA_XFER + MESSAGE_ROOM;

/** Who uses a link: the session of a client. */
export interface LinkUser {
  /** The answer to a request of the client, at the head of `port`'s inbox. */
  onReply(link: ServerLink, port: Port, slot: number, size: number): void;
  /** A command of the server. */
  onCommand(link: ServerLink, port: Port, size: number): void;
  /** The client does not read: take nothing more from the server. */
  readonly clientBlocked: boolean;
  /** The server takes requests again. */
  onServerUnblocked(): void;
  /** All that had arrived was handed over. */
  flushClient(): void;
  onServerEnd(link: ServerLink, reason: VfioError): void;
}

interface OwnCall {
  readonly command: CommandName;
  readonly resolve: (reply: { payload: unknown; fds: Fd[] }) => void;
  readonly reject: (error: VfioError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Longest wait for the answer to a command of the relay's own, in milliseconds. */
const CALL_TIMEOUT_MS = 30_000;

/** The relay's connection to one server: the client's requests go over it, and the relay's own between them. */
export class ServerLink {
  readonly main: Port;
  #twin: Port | undefined;
  /** Requests of the client. */
  readonly inFlight = new InFlight();
  /** Of the device in that very server process, where it tells: another one has lost what this one had. */
  instance: string | undefined;
  #user: LinkUser | undefined;
  readonly #calls = new Map<number, OwnCall>();
  #lastId = MAX_IN_FLIGHT;
  #ended: VfioError | undefined;
  /** The server's answer to VERSION. */
  #version: ReplyPayload<"VERSION"> | undefined;

  private constructor(
    fd: Fd,
    readonly path: string,
  ) {
    this.main = this.#port(fd);
  }

  /**
   * Negotiates with the server at the other end of `fd`, which is taken.
   * @throws CommandError: the server refuses; VfioError EPROTO, ECONNRESET, ETIMEDOUT
   */
  static async open(
    fd: Fd,
    path: string,
    version: RequestPayload<"VERSION">,
    timeoutMs: number,
  ): Promise<ServerLink> {
    const link = new ServerLink(fd, path);
    try {
      const { payload, fds } = await link.#call("VERSION", version, [], timeoutMs);
      const proposed = version.data?.capabilities;
      const proposal = {
        maxMsgFds: MAX_MSG_FDS,
        maxDataXferSize: MAX_DATA_XFER,
        twinSocket: proposed?.twin_socket?.supported === true,
      };
      try {
        const { twin } = acceptVersion(payload, fds, proposal);
        if (twin) link.#twin = link.#port(twin);
      } finally {
        for (const stray of fds) stray.close();
      }
      link.#version = payload;
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
  async call<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly Fd[] = [],
  ): Promise<ReplyPayload<C>> {
    const reply = await this.#call(command, payload, fds, CALL_TIMEOUT_MS);
    for (const fd of reply.fds) fd.close();
    return reply.payload;
  }

  /** The server is not needed any more. */
  close(reason = new VfioError("ECANCELED", "the relay closed the connection")): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.main.close();
    this.#twin?.close();
    for (const { timer, reject } of this.#calls.values()) {
      clearTimeout(timer);
      reject(reason);
    }
    this.#calls.clear();
  }

  #call<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly Fd[],
    timeoutMs: number,
  ): Promise<{ payload: ReplyPayload<C>; fds: Fd[] }> {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(this.#ended);
        return;
      }
      const id = this.#nextId();
      const message = encodeRequest(command, id, payload);
      const expire = (): void => {
        // The id stays taken: the answer may come yet.
        this.#calls.set(id, { ...this.#calls.get(id)!, resolve: drop, reject: () => undefined });
        reject(new VfioError("ETIMEDOUT", `${command}: ${this.path} has not answered in ${timeoutMs} ms`));
      };
      this.#calls.set(id, {
        command,
        resolve: resolve as OwnCall["resolve"],
        reject,
        timer: setTimeout(expire, timeoutMs),
      });
      // Duplicates: the caller's may be closed before the kernel has them.
      this.main.give(
        message,
        fds.map((fd) => fd.duplicate()),
      );
      this.main.flush();
    });
  }

  #nextId(): number {
    if (this.#calls.size === 0x1_0000 - MAX_IN_FLIGHT)
      throw new VfioError("EBUSY", "too many commands are under way");
    do this.#lastId = this.#lastId === 0xffff ? MAX_IN_FLIGHT : this.#lastId + 1;
    while (this.#calls.has(this.#lastId));
    return this.#lastId;
  }

  #port(fd: Fd): Port {
    const port: Port = new Port(fd, `the server at ${this.path}`, MAX_MESSAGE, MAX_MSG_FDS, {
      onMessages: () => this.#onMessages(port),
      onUnblocked: () => this.#user?.onServerUnblocked(),
      onEnd: (reason) => {
        this.close(reason);
        this.#user?.onServerEnd(this, reason);
      },
    });
    return port;
  }

  #onMessages(port: Port): boolean {
    const { inbox } = port;
    let any = false;
    while (this.#isOpen() && !this.#user?.clientBlocked) {
      const size = inbox.next();
      if (size === 0) break;
      const { view, head } = inbox;
      const type = view.getUint32(head + Header.offset.flags, true) & TYPE_MASK;
      const id = view.getUint16(head + Header.offset.msg_id, true);
      if (type === Type.COMMAND) {
        // Commands wait for a client to serve them.
        if (!this.#user) break;
        this.#user.onCommand(this, port, size);
      } else if (type !== Type.REPLY) throw protocolError(`a message of type ${type}`);
      else if (id >= MAX_IN_FLIGHT) this.#onOwnReply(port, id, size);
      else this.#onClientsReply(port, id, size);
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

  #onClientsReply(port: Port, slot: number, size: number): void {
    const { view, head } = port.inbox;
    const cmd = view.getUint16(head + Header.offset.cmd, true);
    if (!this.inFlight.has(slot) || this.inFlight.commandOf(slot) !== cmd)
      throw protocolError(`a reply ${slot} to command ${cmd}, which was not sent`);
    this.#user!.onReply(this, port, slot, size);
  }

  #onOwnReply({ inbox }: Port, id: number, size: number): void {
    const call = this.#calls.get(id);
    const cmd = inbox.view.getUint16(inbox.head + Header.offset.cmd, true);
    if (!call || Command[call.command] !== cmd)
      throw protocolError(`a reply ${id} to command ${cmd}, which was not sent`);
    this.#calls.delete(id);
    clearTimeout(call.timer);
    const message = inbox.bytes.slice(inbox.head, inbox.head + size);
    const header = Header.decode(message.subarray(0, HEADER_SIZE));
    if (header.flags & HeaderFlags.ERROR) {
      call.reject(new CommandError(call.command, header.error_no));
      return;
    }
    const { fds } = inbox.fdsOf(size);
    try {
      const reply = decodeMessage(message) as { payload?: unknown };
      call.resolve({ payload: reply.payload, fds });
    } catch (error) {
      for (const fd of fds) fd.close();
      call.reject(protocolError(`reply to ${call.command}: ${String(error)}`));
    }
  }
}

function drop({ fds }: { readonly fds: readonly Fd[] }): void {
  for (const fd of fds) fd.close();
}
