import { VfioError } from "@vfiokit/core";
import { peerCredentials, type Fd } from "../linux/index.js";
import { Listener, OneClient } from "../socket/index.js";
import type { Log } from "../server/options.js";
import type { RequestPayload } from "../wire/index.js";
import { LocalSource, LocalTarget, migrate, type MigrateEvent } from "../migrate/index.js";
import { saveBehind, type SavedBehind } from "./save.js";
import { move, type MoveOptions, type MoveResult } from "./move.js";
import { openServer } from "./next-server.js";
import { recover, type OnLoss } from "./recovery.js";
import type { ServerLink } from "./server-link.js";
import { dropRequests } from "./client-requests.js";
import { Session, type SessionHost } from "./session.js";
import { Snapshots } from "./snapshot.js";

/** Where a relay listens, whom it connects to, and what happens when that is lost. */
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
  /** How long a client is kept without a server, in milliseconds. Default 30,000. */
  readonly timeout?: number;
  /** Where else a server may be, when the one of the moment has gone. */
  readonly nextPath?: string;
  /** Called when a server has gone: starts the next one at the path of the one of the moment. */
  readonly startServer?: (path: string) => void;
  /** Milliseconds between two snapshots of the device. Default: none are taken. */
  readonly snapshotEvery?: number;
  /** Default "error". */
  readonly onLoss?: OnLoss;
}

/** What `ctl info` shows of a relay. */
export interface RelayStatus {
  /** What tells it from a server. */
  readonly relay: true;
  readonly listen: string;
  /** The server of the moment. */
  readonly server: string;
  /** A client is connected. */
  readonly connected: boolean;
  readonly migrating: boolean;
  /** Requests of the client that the server has not answered. */
  readonly underWay: number;
  /** Snapshots that were taken for this client. */
  readonly snapshots: number;
}

/**
 * Between a vfio-user client that cannot migrate and its server: forwards everything, and remembers what another server
 * must be told to take over.
 */
export class Relay implements SessionHost {
  readonly log: Log;
  readonly versionTimeout: number;
  readonly replyLimit: number;
  #listener: Listener | undefined;
  #session: Session | undefined;
  readonly #clients: OneClient;
  #serverPath: string;
  #moving = false;
  /** A move while there is no client. */
  #idleMove: Promise<unknown> | undefined;
  #snapshots: Snapshots | undefined;
  readonly #settings: { readonly timeout: number; readonly replyLimit: number; readonly onLoss: OnLoss };

  constructor(private readonly options: RelayOptions) {
    this.#serverPath = options.serverPath;
    this.#settings = {
      timeout: options.timeout ?? 30_000,
      replyLimit: options.replyLimit ?? 4000,
      onLoss: options.onLoss ?? "error",
    };
    this.replyLimit = this.#settings.replyLimit;
    this.log = options.log ?? (() => undefined);
    this.#clients = new OneClient({ log: this.log, serve: (fd) => this.#serve(fd) });
    this.versionTimeout = options.versionTimeout ?? 10_000;
  }

  /** @throws SyscallError EADDRINUSE: somebody listens at the path, or it holds something else; EACCES … */
  listen(): void {
    this.#listener = new Listener(this.options.listenPath, this.log, (fd) => this.#clients.admit(fd));
  }

  /** Takes a snapshot now. @returns false: there is no client, something else goes on, or the device cannot */
  async snapshot(): Promise<boolean> {
    return (await this.#snapshots?.take()) ?? false;
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
      migrating: this.#moving,
      underWay: this.#session?.link?.inFlight.count ?? 0,
      snapshots: this.#snapshots?.count ?? 0,
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
    if (this.#moving) throw new VfioError("EBUSY", "the relay is moving the device already");
    const from = this.#serverPath;
    this.#moving = true;
    try {
      // A snapshot is soon done.
      while (this.#session?.busy) await this.#session.busy;
      const session = this.#session;
      const result = session
        ? await session.exclusively(() => this.#moveSession(session, to, options, onEvent))
        : await this.#moveIdle(to, options, onEvent);
      if (result.status === "migrated") this.log("info", `moved from ${from} to ${to}`);
      return result;
    } finally {
      this.#moving = false;
    }
  }

  /**
   * Saves the device while the client goes on.
   * @throws VfioError ENOTCONN: there is no client, so that whoever connects can save it; EMSGSIZE, EOPNOTSUPP, EBUSY
   */
  async save(): Promise<SavedBehind> {
    if (this.#moving) throw new VfioError("EBUSY", "the relay is moving the device");
    // A snapshot is soon done.
    while (this.#session?.busy) await this.#session.busy;
    const session = this.#session;
    if (!session) throw new VfioError("ENOTCONN", "the relay has no client");
    return session.exclusively(() => saveBehind(session));
  }

  #moveSession(
    session: Session,
    to: string,
    options: MoveOptions,
    onEvent: (event: MigrateEvent) => void,
  ): Promise<MoveResult> {
    const onMoved = (link: ServerLink): void => {
      this.#serverPath = to;
      if (session.ended) link.close();
      else session.use(link);
    };
    return move(session, to, options, this.#settings.replyLimit, onMoved, onEvent);
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
    this.#listener?.close();
    this.#clients.close();
    const session = this.#session;
    session?.end("the relay closes");
    await session?.closed;
  }

  /** @throws SyscallError ENOENT, ECONNREFUSED …; VfioError where the negotiation fails */
  async connect(version: RequestPayload<"VERSION">): Promise<ServerLink> {
    await this.#idleMove;
    const { link, control } = await openServer(this.#serverPath, version);
    control?.close();
    return link;
  }

  onServerLost(session: Session, lost: ServerLink, reason: VfioError): void {
    this.log("warn", `${lost.path} is lost: ${reason.message}`);
    void this.#recover(session, lost).catch((error: unknown) => {
      if (!session.ended) session.end(error instanceof Error ? error.message : String(error));
    });
  }

  async #recover(session: Session, lost: ServerLink): Promise<void> {
    // A move that is past its commit ends with the next server, others with none.
    while (session.busy) await session.busy;
    if (session.link || session.ended) {
      dropRequests(lost.inFlight);
      return;
    }
    const { nextPath, startServer } = this.options;
    const paths = [this.#serverPath, ...(nextPath === undefined ? [] : [nextPath])];
    startServer?.(this.#serverPath);
    const snapshot = this.#snapshots?.latest;
    const settings = { ...this.#settings, log: this.log, paths: [...new Set(paths)], snapshot };
    this.#serverPath = (await recover(session, lost, settings)).path;
  }

  #serve(fd: Fd): Session {
    const { pid, uid } = peerCredentials(fd);
    this.log("info", `client connected: process ${pid} of user ${uid}`);
    const session = new Session(fd, this);
    this.#session = session;
    const { snapshotEvery } = this.options;
    const snapshots =
      snapshotEvery === undefined ? undefined : new Snapshots(session, snapshotEvery, this.log);
    this.#snapshots = snapshots;
    void session.closed.then(() => {
      snapshots?.stop();
      this.#session = undefined;
    });
    return session;
  }
}
