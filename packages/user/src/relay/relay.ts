import { VfioError } from "@vfiokit/core";
import { peerCredentials, reactor, UnixListener, type Fd, type Watch } from "../linux/index.js";
import type { Log } from "../server/options.js";
import type { RequestPayload } from "../wire/index.js";
import { LocalSource, LocalTarget, migrate, type MigrateEvent } from "../migrate/index.js";
import { dial } from "./dial.js";
import { move, type MoveOptions, type MoveResult } from "./move.js";
import { ServerLink } from "./server-link.js";
import { dropRequests, Session, type SessionHost } from "./session.js";

export interface RelayOptions {
  /** Where clients connect, with mode 0600. */
  readonly listenPath: string;
  /** The server to begin with. */
  readonly serverPath: string;
  readonly log?: Log;
  /** Milliseconds in which a client has to propose a version. Default 10,000. */
  readonly versionTimeout?: number;
  /**
   * Longest time that a request of the client may wait for a move or for another server, in milliseconds. Default 4000:
   * QEMU gives up after 5 seconds (its x-msg-timeout), and an answer after that breaks its connection.
   */
  readonly replyLimit?: number;
}

export interface RelayStatus {
  /** What tells it from a server. */
  readonly relay: true;
  readonly listen: string;
  /** The server of the moment. */
  readonly server: string;
  /** A client is connected. */
  readonly connected: boolean;
  readonly migrating: boolean;
}

/** Milliseconds in which a server has to answer VERSION. */
const SERVER_VERSION_MS = 4000;
/**
 * Between a vfio-user client that cannot migrate and its server: forwards everything, and remembers what another server
 * must be told to take over.
 */
export class Relay implements SessionHost {
  readonly log: Log;
  readonly versionTimeout: number;
  #listener: UnixListener | undefined;
  #watch: Watch | undefined;
  #session: Session | undefined;
  #serverPath: string;
  /** A move while there is no client. */
  #idleMove: Promise<unknown> | undefined;
  readonly #replyLimit: number;

  constructor(private readonly options: RelayOptions) {
    this.#serverPath = options.serverPath;
    this.#replyLimit = options.replyLimit ?? 4000;
    this.log = options.log ?? (() => undefined);
    this.versionTimeout = options.versionTimeout ?? 10_000;
  }

  /** @throws SyscallError EADDRINUSE: somebody listens at the path, or it holds something else; EACCES … */
  listen(): void {
    const listener = new UnixListener(this.options.listenPath);
    this.#listener = listener;
    this.#watch = reactor.add(listener.fd, { onReadable: () => this.#accept(listener) });
  }

  /** Where the device is. */
  get serverPath(): string {
    return this.#serverPath;
  }

  get status(): RelayStatus {
    return {
      relay: true,
      listen: this.options.listenPath,
      server: this.#serverPath,
      connected: this.#session !== undefined,
      migrating: this.#idleMove !== undefined || this.#session?.migrating === true,
    };
  }

  /**
   * Moves the device to the server at `to`, while the client goes on.
   * @throws MigrateError; VfioError where nothing was begun: EBUSY, EINVAL …
   */
  async migrate(
    to: string,
    options: MoveOptions,
    onEvent: (event: MigrateEvent) => void = () => undefined,
  ): Promise<MoveResult> {
    if (to === this.#serverPath) throw new VfioError("EINVAL", `${to}: the device is there already`);
    if (this.status.migrating) throw new VfioError("EBUSY", "the relay is moving the device already");
    const session = this.#session;
    const from = this.#serverPath;
    const result = session
      ? await move(session, to, options, this.#replyLimit, (link) => this.#moved(session, link), onEvent)
      : await this.#moveIdle(to, options, onEvent);
    if (result.status === "migrated") this.log("info", `moved from ${from} to ${to}`);
    return result;
  }

  #moved(session: Session, link: ServerLink): void {
    this.#serverPath = link.path;
    if (session.ended) link.close();
    else session.use(link);
  }

  async #moveIdle(
    to: string,
    { fault, ...options }: MoveOptions,
    onEvent: (event: MigrateEvent) => void,
  ): Promise<MoveResult> {
    const moving = async (): Promise<MoveResult> => {
      using source = await LocalSource.connect(this.#serverPath);
      using target = await LocalTarget.connect(to);
      const hooks = fault && { hooks: { fault } };
      const result = await migrate(source, target, { ...options, ...hooks }, onEvent);
      if (result.status === "migrated") this.#serverPath = to;
      return { ...result, pause_ms: 0 };
    };
    const moved = moving();
    this.#idleMove = moved.catch(() => undefined);
    try {
      return await moved;
    } finally {
      this.#idleMove = undefined;
    }
  }

  /** Stops listening, disconnects the client and removes the socket. */
  async close(): Promise<void> {
    this.#watch?.remove();
    this.#listener?.close();
    const session = this.#session;
    session?.end("the relay closes");
    await session?.closed;
  }

  /** @throws SyscallError ENOENT, ECONNREFUSED …; VfioError where the negotiation fails */
  async connect(version: RequestPayload<"VERSION">): Promise<ServerLink> {
    await this.#idleMove;
    const path = this.#serverPath;
    return ServerLink.open(await dial(path, SERVER_VERSION_MS), path, version, SERVER_VERSION_MS);
  }

  onServerLost(session: Session, lost: ServerLink, reason: VfioError): void {
    dropRequests(lost.inFlight);
    session.end(`the server is gone (${reason.message})`);
  }

  #accept(listener: UnixListener): boolean {
    const fd = listener.accept();
    if (fd) this.#admit(fd);
    return fd !== undefined;
  }

  #admit(fd: Fd): void {
    const { pid, uid } = peerCredentials(fd);
    if (this.#session) {
      this.log("warn", `process ${pid} was turned away: another client is connected`);
      fd.close();
      return;
    }
    this.log("info", `client connected: process ${pid} of user ${uid}`);
    const session = new Session(fd, this);
    this.#session = session;
    void session.closed.then(() => (this.#session = undefined));
  }
}
