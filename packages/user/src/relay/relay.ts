import { setTimeout as sleep } from "node:timers/promises";
import { VfioError } from "@vfiokit/core";
import {
  connectUnix,
  peerCredentials,
  reactor,
  SyscallError,
  UnixListener,
  type Fd,
  type Watch,
} from "../linux/index.js";
import type { Log } from "../server/options.js";
import type { RequestPayload } from "../wire/index.js";
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
}

/** Milliseconds in which a server has to answer VERSION. */
const SERVER_VERSION_MS = 4000;
/** A server whose backlog is full is asked again this soon, in milliseconds. */
const BACKLOG_FULL_MS = 5;

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

  constructor(private readonly options: RelayOptions) {
    this.log = options.log ?? (() => undefined);
    this.versionTimeout = options.versionTimeout ?? 10_000;
  }

  /** @throws SyscallError EADDRINUSE: somebody listens at the path, or it holds something else; EACCES … */
  listen(): void {
    const listener = new UnixListener(this.options.listenPath);
    this.#listener = listener;
    this.#watch = reactor.add(listener.fd, { onReadable: () => this.#accept(listener) });
  }

  get session(): Session | undefined {
    return this.#session;
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
    const path = this.options.serverPath;
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

/** Connects; a server whose backlog is full is asked again. */
export async function dial(path: string, timeoutMs: number): Promise<Fd> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return connectUnix(path);
    } catch (error) {
      const full = error instanceof SyscallError && error.code === "EAGAIN";
      if (!full || Date.now() >= deadline) throw error;
    }
    await sleep(BACKLOG_FULL_MS);
  }
}
