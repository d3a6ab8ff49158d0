/** A scripted server: answers as a test tells it to, well-formed or not. */

import { onTestFinished } from "vitest";
import { Errno, VfioError } from "@vfiokit/core";
import { RegionFlags } from "@vfiokit/core/host";
import { socketPair, UnixListener, reactor, type Fd, type Watch } from "@vfiokit/user/linux";
import {
  Command,
  decodeMessage,
  encodeError,
  encodeReply,
  encodeRequest,
  type CommandName,
  type Message,
  type ReplyPayload,
  type Request,
  type RequestPayload,
} from "@vfiokit/user/wire";
import { VfioUserClient, type ClientOptions } from "../../src/client/index.js";
import { Channel } from "../../src/socket/index.js";

/** What a handler may answer: a payload; an errno; nothing yet. */
type Answer<C extends CommandName> = ReplyPayload<C> | number | undefined;
type Handlers = {
  [C in CommandName]?: (payload: RequestPayload<C>, server: FakeServer, request: Request<C>) => Answer<C>;
};

export const LIMITS = { max_msg_fds: 8, max_data_xfer_size: 4096, write_multiple: true };

const defaults: Handlers = {
  VERSION: ({ major, minor }) => ({ major, minor, data: { capabilities: LIMITS } }),
  DMA_MAP: () => ({}),
  DMA_UNMAP: (payload) => payload,
  DEVICE_GET_INFO: () => ({ argsz: 16, flags: 3, num_regions: 9, num_irqs: 5 }),
  DEVICE_GET_REGION_INFO: ({ index }) => ({
    argsz: 32,
    flags: RegionFlags.READ,
    index,
    cap_offset: 0,
    size: 256n,
    offset: 0n,
    capabilities: [],
  }),
  DEVICE_SET_IRQS: () => ({}),
  DEVICE_RESET: () => ({}),
  REGION_READ: ({ offset, region, count }) => ({
    offset,
    region,
    count,
    data: Uint8Array.from({ length: count }, (_, i) => Number(offset) + i),
  }),
  REGION_WRITE: ({ offset, region, count }) => ({ offset, region, count }),
  REGION_WRITE_MULTI: ({ wr_cnt }) => ({ wr_cnt }),
};

export class FakeServer {
  readonly requests: Request<CommandName>[] = [];
  /** Descriptors that came with requests, in order. */
  readonly fds: Fd[] = [];
  /** To send with the next reply. */
  replyFds: readonly Fd[] = [];
  readonly #channel: Channel;
  readonly #ended: Promise<VfioError>;
  #waiting: { readonly command: CommandName; readonly resolve: (request: Request<CommandName>) => void }[] =
    [];
  readonly replies: Message[] = [];
  #replyWaiting: ((message: Message) => void)[] = [];

  constructor(
    fd: Fd,
    private readonly handlers: Handlers = {},
  ) {
    let end!: (reason: VfioError) => void;
    this.#ended = new Promise((resolve) => (end = resolve));
    this.#channel = new Channel(
      fd,
      {
        onMessage: (bytes, _view, fds) => {
          this.fds.push(...fds);
          this.#onMessage(decodeMessage(bytes.slice()));
        },
        onEnd: (reason) => end(reason),
      },
      { name: "the peer", maxMessage: 1 << 21, maxFds: 253 },
    );
    onTestFinished(() => this.close());
  }

  /** Fulfilled when the client has closed the connection. */
  get ended(): Promise<VfioError> {
    return this.#ended;
  }

  /** The next request of a command that arrives, or has arrived unseen. */
  next<C extends CommandName>(command: C): Promise<Request<C>> {
    return new Promise((resolve) => {
      this.#waiting.push({ command, resolve: resolve as (request: Request<CommandName>) => void });
    });
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array, fds: readonly Fd[] = []): void {
    this.#channel.send(bytes.length, (into) => into.set(bytes), fds);
  }

  reply<C extends CommandName>(request: Request<C>, payload: ReplyPayload<C>): void {
    this.raw(encodeReply(request.command, request.msg_id, payload), this.replyFds);
    this.replyFds = [];
  }

  /** Sends a command of its own. @returns the client's reply */
  ask<C extends CommandName>(command: C, payload: RequestPayload<C>, msg_id = 77): Promise<Message> {
    this.raw(encodeRequest(command, msg_id, payload));
    return this.nextReply();
  }

  /** The client's next reply. */
  nextReply(): Promise<Message> {
    return new Promise((resolve) => this.#replyWaiting.push(resolve));
  }

  /** Goes away as soon as what it has said is sent. */
  closeWhenSent(): void {
    this.#channel.whenSent(() => this.close());
  }

  close(): void {
    this.#channel.close();
    for (const fd of this.fds.splice(0)) fd.close();
  }

  #onMessage(message: Message): void {
    if (message.kind !== "request") {
      this.replies.push(message);
      this.#replyWaiting.shift()?.(message);
      return;
    }
    this.requests.push(message);
    const handler = (this.handlers[message.command] ?? defaults[message.command]) as
      ((payload: unknown, server: FakeServer, request: unknown) => object | number | undefined) | undefined;
    const answer = handler ? handler(message.payload, this, message) : Errno.EINVAL;
    if (!message.no_reply) {
      if (typeof answer === "number") this.raw(encodeError(Command[message.command], message.msg_id, answer));
      else if (answer) this.reply(message, answer);
    }
    const at = this.#waiting.findIndex(({ command }) => command === message.command);
    if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(message);
  }
}

/** A client that is connected to a scripted server. Both are closed when the test ends. */
export async function connected(
  handlers: Handlers = {},
  options: ClientOptions = {},
): Promise<{ client: VfioUserClient; server: FakeServer }> {
  const [ours, theirs] = socketPair();
  const server = new FakeServer(theirs, handlers);
  const client = await VfioUserClient.connect(ours, options);
  onTestFinished(() => client.close());
  return { client, server };
}

/** Servers that listen at a path: one FakeServer a connection. */
export class FakeListener {
  readonly servers: FakeServer[] = [];
  readonly #listener: UnixListener;
  readonly #watch: Watch;
  #waiting: ((server: FakeServer) => void)[] = [];

  constructor(path: string, handlers: Handlers = {}) {
    this.#listener = new UnixListener(path);
    this.#watch = reactor.add(this.#listener.fd, {
      onReadable: () => {
        const fd = this.#listener.accept();
        if (!fd) return false;
        const server = new FakeServer(fd, handlers);
        this.servers.push(server);
        this.#waiting.shift()?.(server);
        return true;
      },
    });
  }

  /** The next connection. */
  accepted(): Promise<FakeServer> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** As a server that is killed: all sockets are gone at once. */
  kill(): void {
    this.#watch.remove();
    this.#listener.close();
    for (const server of this.servers.splice(0)) server.close();
  }
}
