import { VfioError, type OpenOptions, type PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { type Fd, reactor, socketPair } from "../linux/index.js";
import { Channel, MessageSocket, type Inbox, type MessageFds, type Outbox } from "../socket/index.js";
import {
  Command,
  commandName,
  decodeMessage,
  Header,
  HEADER_SIZE,
  messageType,
  RegionAccess,
  Type,
  TYPE_MASK,
  WireError,
  type CommandName,
  type RequestPayload,
} from "../wire/index.js";
import { DmaClient } from "./dma-client.js";
import { handlers } from "./handlers.js";
import { IoEventFds } from "./io-event-fds.js";
import type { ConnectionSettings } from "./options.js";
import { RegionAccesses } from "./region-access.js";
import { Replies } from "./replies.js";
import type { Answer, AnyHandler, Session } from "./session.js";
import { negotiate, type Negotiated, type PeerLimits } from "./version.js";

/** Commands carried out before other connections, and the peer's reading of replies, get their turn. */
const COMMANDS_PER_TURN = 64;

const { offset: HEADER } = Header;
/** Where the data of an access to a region or to memory begins in its message. */
const DATA_OFFSET = HEADER_SIZE + RegionAccess.size;

/**
 * One client, from its connection to its end.
 *
 * Commands are carried out in the order in which they arrive, one at a time. One that has to wait makes those
 * behind it wait, but not the replies to our own DMA messages, which it may be waiting for. `#onMessages` is the
 * hot path: a batch of commands in, a batch of replies out, nothing allocated for accesses to regions.
 */
export class Connection {
  /** Settles when the client is gone and everything of it is released. Never rejects. */
  readonly closed: Promise<void>;

  readonly #socket: MessageSocket;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #accesses: RegionAccesses;
  readonly #replies: Replies;
  readonly #abort = new AbortController();
  readonly #ioEventFds: IoEventFds;
  /** Undefined until VERSION. */
  #session: Session | undefined;
  #dma: DmaClient | undefined;
  /** For our commands to the client and their replies (vfio-user: twin-socket mode). */
  #twin: Channel | undefined;
  /** The command that has to wait. */
  #pending: Promise<void> | undefined;
  /** The device is open for this client. */
  #isOpen = false;
  #ended = false;
  #settle!: () => void;

  /** Serves the client on `fd`, which the connection takes over. */
  constructor(
    fd: Fd,
    private readonly device: PciDevice,
    private readonly settings: ConnectionSettings,
  ) {
    this.closed = new Promise((resolve) => (this.#settle = resolve));
    // The longest command is a REGION_WRITE of max_data_xfer_size.
    const maxMessage = DATA_OFFSET + settings.maxDataXferSize;
    this.#socket = new MessageSocket(fd, "the client", maxMessage, settings.maxMsgFds, {
      onMessages: () => this.#onMessages(),
      onUnblocked: () => this.#socket.wake(),
      onEnd: (reason) => this.#onEnd(reason),
    });
    ({ inbox: this.#inbox, outbox: this.#outbox } = this.#socket);
    this.#socket.expect("VERSION", settings.versionTimeout);
    this.#accesses = new RegionAccesses(this.#inbox, this.#outbox);
    this.#replies = new Replies(this.#socket, settings.log);
    this.#ioEventFds = new IoEventFds(device, settings.log);
  }

  /** Ends the connection; `closed` tells when. */
  close(): void {
    this.#end("the server closes");
  }

  /** Who carries out the client's commands, once there is a session. */
  get task(): Task | undefined {
    return this.#session?.task;
  }

  /** Whether the client has gone or is being dropped: then the next one need not be turned away. */
  isOver(): boolean {
    return this.#ended || this.#socket.hungUp;
  }

  /** Returns whether there is more to do at once. */
  #onMessages(): boolean {
    let done = 0;
    while (!this.#pending && !this.#outbox.blocked && !this.#ended) {
      const size = this.#inbox.next();
      if (size === 0) return done > 0;
      if (done === COMMANDS_PER_TURN) return true;
      done++;
      this.#command(size);
    }
    if (this.#dma?.waiting && !this.#twin) this.#inbox.takeFrom(this.#takeReply);
    return done > 0;
  }

  /** Carries out the message at the inbox's head. */
  #command(size: number): void {
    const { view, head } = this.#inbox;
    const cmd = view.getUint16(head + HEADER.cmd, true);
    const type = messageType(view, head);
    let wait: Promise<void> | undefined;
    try {
      if (!this.#session) wait = this.#version(cmd, type, size);
      else if (type === Type.REPLY) this.#takeDmaReply(this.#inbox.message(size));
      else if (type !== Type.COMMAND) throw new VfioError("EINVAL", `message type ${type}: 0 or 1`);
      else if (cmd === Command.REGION_READ || cmd === Command.REGION_WRITE)
        wait = this.#accesses.run(this.#session, size);
      else wait = this.#handle(this.#session, cmd, size);
    } catch (error) {
      this.#refuseCommand(error, size);
    }
    if (wait) this.#waitFor(wait, size);
    else this.#inbox.drop(size);
  }

  #waitFor(wait: Promise<void>, size: number): void {
    this.#inbox.pin(size);
    // What the promise is waiting for may run as soon as we return.
    reactor.yield();
    this.#pending = wait
      .catch((error: unknown) => this.#refuseCommand(error, size))
      .then(() => {
        this.#pending = undefined;
        this.#inbox.drop(size);
        if (this.#ended) return;
        this.#socket.flush();
        this.#socket.wake();
      });
  }

  #handle(session: Session, cmd: number, size: number): Promise<void> | undefined {
    const command = commandName(cmd);
    const handler = command && (handlers[command] as AnyHandler | undefined);
    if (!handler) throw new VfioError("EINVAL", `command ${command ?? cmd}: not one that a client sends`);
    const attached = this.#fdsOf(size);
    let answer: Answer<CommandName> | Promise<Answer<CommandName>>;
    try {
      const message = decodeMessage(this.#inbox.message(size));
      if (attached.lost)
        throw new VfioError("EINVAL", `too many descriptors: max_msg_fds is ${session.settings.maxMsgFds}`);
      answer = handler(session, (message as { payload?: unknown }).payload, attached);
    } catch (error) {
      closeAll(attached);
      throw error;
    }
    if (!(answer instanceof Promise)) {
      closeAll(attached);
      this.#replies.answer(command, answer);
      return undefined;
    }
    return answer.then((late) => this.#replies.answer(command, late)).finally(() => closeAll(attached));
  }

  /** A client whose VERSION is refused has no session, and no second try. */
  #refuseCommand(error: unknown, size: number): void {
    this.#replies.refuse(error, size);
    if (!this.#session) this.#end("no version was agreed on");
  }

  /** vfio-user: "the client must send a VFIO_USER_VERSION message" first. Anything else ends the connection. */
  #version(cmd: number, type: number, size: number): Promise<void> {
    if (cmd !== Command.VERSION || type !== Type.COMMAND)
      throw new VfioError(
        "EINVAL",
        `the first message is ${commandName(cmd) ?? `command ${cmd}`}, not VERSION`,
      );
    closeAll(this.#fdsOf(size));
    const request = decodeMessage(this.#inbox.message(size)) as { payload: RequestPayload<"VERSION"> };
    const negotiated = negotiate(request.payload, this.settings);
    this.#socket.expect("VERSION", undefined);
    return this.#open(request.payload, negotiated);
  }

  /** Opens the device for the client, who hears of a failure in the answer to VERSION. */
  async #open({ major, minor }: RequestPayload<"VERSION">, negotiated: Negotiated): Promise<void> {
    const task = new Task("client", { signal: this.#abort.signal });
    await this.device.openDevice(task, this.#openOptions());
    this.#isOpen = true;
    if (this.#ended) return;
    const { reply, peer, twinSocket } = negotiated;
    const twin = twinSocket ? socketPair() : undefined;
    try {
      this.#replies.answer("VERSION", { payload: reply, ...(twin && { fds: [twin[0]] }) });
      this.#outbox.flush();
      this.#startSession(task, peer, twin?.[1]);
    } catch (error) {
      twin?.[1].close();
      throw error;
    } finally {
      twin?.[0].close();
    }
    const mode = twin ? ", twin socket" : "";
    this.settings.log("info", `client speaks ${major}.${minor}${mode}`);
  }

  #startSession(task: Task, peer: PeerLimits, twin: Fd | undefined): void {
    const { device, settings } = this;
    this.#twin = twin && this.#openTwin(twin, peer);
    const send = (message: Uint8Array): void =>
      this.#twin ? this.#twin.send(message.length, (into) => into.set(message)) : this.#socket.send(message);
    this.#dma = new DmaClient(send, peer.maxDataXferSize, settings.dmaTimeout);
    this.#session = { device, task, settings, peer, ioEventFds: this.#ioEventFds };
    device.dma.clientMemory = this.#dma;
  }

  #openTwin(fd: Fd, peer: PeerLimits): Channel {
    const { maxDataXferSize } = this.settings;
    const events = {
      onMessage: (message: Uint8Array) => this.#takeDmaReply(message),
      onEnd: (reason: VfioError) => this.#end(`twin socket: ${reason.message}`),
    };
    // The longest reply is a DMA_READ's, of the client's max_data_xfer_size at most; ours bounds what we ask for.
    const maxMessage = DATA_OFFSET + Math.min(peer.maxDataXferSize, maxDataXferSize);
    return new Channel(fd, events, { name: "the client", maxMessage, maxFds: 0 });
  }

  #takeDmaReply(message: Uint8Array): void {
    const isReply = (message[HEADER.flags]! & TYPE_MASK) === Type.REPLY;
    if (!isReply || !this.#dma!.take(message)) this.settings.log("debug", "a reply that nobody waits for");
  }

  /** The same behind a command that waits. */
  readonly #takeReply = (at: number, size: number): boolean => {
    if (messageType(this.#inbox.view, at) !== Type.REPLY) return false;
    reactor.yield();
    this.#dma!.take(this.#inbox.bytes.subarray(at, at + size));
    return true;
  };

  #fdsOf(size: number): MessageFds {
    return this.#inbox.hasFds ? this.#inbox.fdsOf(size) : { fds: [], lost: false };
  }

  #onEnd(reason: VfioError): void {
    // The stream cannot be trusted any more. The header that says so is the inbox's first, unless that one waits.
    if (reason instanceof WireError && !this.#pending) this.#replies.refuse(reason, HEADER_SIZE);
    if (reason.cause !== undefined) this.settings.log("error", reason.message);
    this.#end(reason.message);
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#replies.close();
    this.#socket.stop(); // with a last error reply
    this.#twin?.close();
    this.#dma?.close();
    this.#ioEventFds.close();
    this.#abort.abort(new VfioError("ENOTCONN", reason));
    this.settings.log("info", `connection ended: ${reason}`);
    void this.#release();
  }

  /** A device that a hand-over keeps is not reset by a client that comes or goes: its image is still wanted. */
  #openOptions(): OpenOptions {
    const phase = this.device.handOver?.status().phase ?? "none";
    return { reset: this.settings.onDisconnect === "reset" && phase === "none" };
  }

  /** vfio-user, "Client Disconnection": what is the client's is dropped. */
  async #release(): Promise<void> {
    await this.#pending;
    try {
      if (this.#isOpen) await this.device.closeDevice(new Task("disconnect"), this.#openOptions());
    } catch (error) {
      this.settings.log(
        "error",
        `while disconnecting: ${error instanceof Error ? error.stack : String(error)}`,
      );
    }
    this.#socket.close();
    this.#settle();
  }
}

function closeAll({ fds }: MessageFds): void {
  for (const fd of fds.splice(0)) fd.close();
}
