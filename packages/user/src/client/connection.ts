/** One connection to a server, from negotiation to its end. */

import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import {
  Command,
  commandName,
  decodeMessage,
  encodedSize,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  RegionAccess,
  Type,
  TYPE_MASK,
  writeU64FromNumber,
  type CommandName,
  type ReplyPayload,
  type RequestPayload,
  writeMessage,
  type Message,
} from "../wire/index.js";
import {
  abortError,
  Channel,
  Outstanding,
  protocolError,
  type CallOptions,
  type TakeReply,
} from "../socket/index.js";
import { answerDma } from "./dma-commands.js";
import type { DmaMaps } from "./dma.js";
import { acceptVersion, versionRequest, type Limits, type Proposal } from "./negotiate.js";

/** Room for headers, and for replies that are no data transfers (capabilities of a region, JSON). */
const MESSAGE_ROOM = 64 * 1024;

export interface RequestOptions extends CallOptions {
  /** Go with the message; stay the caller's. */
  readonly fds?: readonly Fd[];
}

export class Connection {
  readonly #main: Channel;
  #twin: Channel | undefined;
  readonly #commands: Outstanding;
  /** Rejections of posted commands that the kernel does not have yet. */
  readonly #unsent = new Set<(error: Error) => void>();
  #limits: Limits | undefined;
  #ended = false;

  /** Takes `fd`. */
  private constructor(
    fd: Fd,
    private readonly proposal: Proposal,
    private readonly maps: DmaMaps,
    private readonly onEnd: (connection: Connection, reason: VfioError) => void,
    server: string,
  ) {
    this.#commands = new Outstanding(server);
    this.#main = this.#channel(fd);
  }

  /**
   * Negotiates with the server at the other end of `fd`, which is taken. `onEnd` is called when the server ends the
   * connection, during negotiation as well.
   * @param server in messages
   * @throws VfioError ReplyError where the server refuses; EPROTO; ECONNRESET; ETIMEDOUT
   */
  static async open(
    fd: Fd,
    proposal: Proposal,
    maps: DmaMaps,
    options: CallOptions,
    onEnd: (connection: Connection, reason: VfioError) => void,
    server = "the server",
  ): Promise<Connection> {
    const connection = new Connection(fd, proposal, maps, onEnd, server);
    try {
      const request = versionRequest(proposal);
      const { limits, twin } = await connection.request("VERSION", request, options, (message, _view, fds) =>
        acceptVersion(payloadOf("VERSION", message), fds, proposal),
      );
      // The server may have gone in the meantime.
      if (connection.#ended) {
        twin?.close();
        throw new VfioError("ECONNRESET", "the server closed the connection");
      }
      connection.#limits = limits;
      if (twin) connection.#twin = connection.#channel(twin);
      return connection;
    } catch (error) {
      connection.close(new VfioError("ECONNRESET", "negotiation failed"));
      throw error;
    }
  }

  /** Once negotiated. */
  get limits(): Limits {
    return this.#limits!;
  }

  get closed(): boolean {
    return this.#ended;
  }

  get outstanding(): number {
    return this.#commands.count;
  }

  /** Sends a command and waits for its reply. */
  request<C extends CommandName, T>(
    command: C,
    payload: RequestPayload<C>,
    options: RequestOptions,
    take: TakeReply<T>,
  ): Promise<T> {
    const send = (id: number): void =>
      this.#send({ kind: "request", command, msg_id: id, no_reply: false, payload } as Message, options.fds);
    return this.#start(options, command, () => this.#commands.request(command, options, send, take));
  }

  /** `request` for a reply that is its payload. Its byte arrays are the caller's. */
  call<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    options: RequestOptions,
  ): Promise<ReplyPayload<C>> {
    return this.request(command, payload, options, (message) => payloadOf(command, message.slice()));
  }

  /** Sends a command without a reply (No_reply). Fulfilled once the kernel has it. */
  post<C extends CommandName>(command: C, payload: RequestPayload<C>, options: CallOptions): Promise<void> {
    return this.#start(options, command, () => {
      const msg_id = this.#commands.nextId();
      this.#send({ kind: "request", command, msg_id, no_reply: true, payload } as Message);
      return new Promise((resolve, reject) => {
        this.#unsent.add(reject);
        this.#main.whenSent(() => {
          this.#unsent.delete(reject);
          resolve();
        });
      });
    });
  }

  /** Reads at most `maxDataXferSize` bytes of a region. @returns how many the server gave */
  readRegion(region: number, offset: number, into: Uint8Array, options: CallOptions): Promise<number> {
    const send = (id: number): void => this.#sendAccess(id, Command.REGION_READ, region, offset, into.length);
    const take = (message: Uint8Array, view: DataView): number => {
      const count = replyCount(message, view, into.length);
      const data = message.subarray(HEADER_SIZE + RegionAccess.size);
      if (data.length !== count)
        throw protocolError(`count is ${count}: the message holds ${data.length} bytes`);
      into.set(data);
      return count;
    };
    return this.#start(options, "REGION_READ", () =>
      this.#commands.request("REGION_READ", options, send, take),
    );
  }

  /** Writes at most `maxDataXferSize` bytes of a region. @returns how many the server took */
  writeRegion(region: number, offset: number, from: Uint8Array, options: CallOptions): Promise<number> {
    const send = (id: number): void =>
      this.#sendAccess(id, Command.REGION_WRITE, region, offset, from.length, from);
    return this.#start(options, "REGION_WRITE", () =>
      this.#commands.request("REGION_WRITE", options, send, (message, view) =>
        replyCount(message, view, from.length),
      ),
    );
  }

  /** Ends the connection: everything outstanding fails with `reason`. */
  close(reason: VfioError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#main.close();
    this.#twin?.close();
    this.#commands.fail(reason);
    for (const reject of this.#unsent) reject(reason);
    this.#unsent.clear();
  }

  /** Errors of starting a command are rejections, as those of its end are. */
  async #start<T>(options: CallOptions, what: string, run: () => Promise<T>): Promise<T> {
    if (options.signal?.aborted) throw abortError(what, options.signal);
    if (this.#ended) throw new VfioError("ENOTCONN", `${what}: the connection is closed`);
    return run();
  }

  /** Written in place: an image's messages are large. @throws WireError, with nothing sent */
  #send(message: Message, fds?: readonly Fd[]): void {
    this.#main.send(encodedSize(message), (into) => writeMessage(message, into.fill(0)), fds);
  }

  /** REGION_READ and REGION_WRITE, written in place. */
  #sendAccess(
    id: number,
    cmd: number,
    region: number,
    offset: number,
    count: number,
    data?: Uint8Array,
  ): void {
    const size = HEADER_SIZE + RegionAccess.size + (data?.length ?? 0);
    this.#main.send(size, (into, view) => {
      const at = into.byteOffset;
      writeHeader(view, at, id, cmd, size);
      writeU64FromNumber(view, at + HEADER_SIZE + RegionAccess.offset.offset, offset);
      view.setUint32(at + HEADER_SIZE + RegionAccess.offset.region, region, true);
      view.setUint32(at + HEADER_SIZE + RegionAccess.offset.count, count, true);
      if (data) into.set(data, HEADER_SIZE + RegionAccess.size);
    });
  }

  #channel(fd: Fd): Channel {
    const channel: Channel = new Channel(
      fd,
      {
        onMessage: (message, view, fds) => this.#onMessage(channel, message, view, fds),
        onEnd: (reason) => {
          this.close(reason);
          this.onEnd(this, reason);
        },
      },
      {
        name: "the server",
        maxMessage: this.proposal.maxDataXferSize + MESSAGE_ROOM,
        maxFds: this.proposal.maxMsgFds,
      },
    );
    return channel;
  }

  #onMessage(channel: Channel, message: Uint8Array, view: DataView, fds: Fd[]): void {
    const flags = view.getUint32(message.byteOffset + Header.offset.flags, true);
    const type = flags & TYPE_MASK;
    if (type === Type.REPLY && channel === this.#main) {
      if (this.#commands.reply(message, view, fds)) return;
      const { msg_id, cmd } = Header.decode(message);
      throw protocolError(`a reply ${msg_id} to ${commandName(cmd) ?? cmd}, which was not sent`);
    }
    for (const fd of fds) fd.close();
    if (type !== Type.COMMAND) throw protocolError(`a message of type ${type} from the server`);
    const answer = answerDma(message, this.maps, this.proposal.maxDataXferSize);
    if (!(flags & HeaderFlags.NO_REPLY)) channel.answer(answer);
  }
}

function writeHeader(view: DataView, at: number, id: number, cmd: number, size: number): void {
  view.setUint16(at + Header.offset.msg_id, id, true);
  view.setUint16(at + Header.offset.cmd, cmd, true);
  view.setUint32(at + Header.offset.msg_size, size, true);
  view.setUint32(at + Header.offset.flags, Type.COMMAND, true);
  view.setUint32(at + Header.offset.error_no, 0, true);
}

/** `count` of a reply to a region access. */
function replyCount(message: Uint8Array, view: DataView, asked: number): number {
  if (message.length < HEADER_SIZE + RegionAccess.size) throw protocolError(`${message.length} bytes`);
  const count = view.getUint32(message.byteOffset + HEADER_SIZE + RegionAccess.offset.count, true);
  if (count > asked) throw protocolError(`count is ${count}: ${asked} were asked for`);
  return count;
}

/** The payload of a successful reply; its byte arrays are views of `message`. @throws WireError */
export function payloadOf<C extends CommandName>(command: C, message: Uint8Array): ReplyPayload<C> {
  const reply = decodeMessage(message);
  if (reply.kind !== "reply" || reply.command !== command) throw protocolError(`not a reply to ${command}`);
  return reply.payload as ReplyPayload<C>;
}
