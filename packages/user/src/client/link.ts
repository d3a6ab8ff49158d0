/** The client's line to its server: one connection after another, where it reconnects. */

import { setTimeout as sleep } from "node:timers/promises";
import { VfioError } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import { abortError, asVfioError, dial, type CallOptions } from "../socket/index.js";
import { Connection } from "./connection.js";
import type { DmaMaps } from "./dma.js";
import type { Proposal } from "./negotiate.js";

/** How long to wait between two attempts to connect, in milliseconds. */
export interface BackOff {
  /** Milliseconds before the second attempt; each further one waits twice as long. Default 10. */
  readonly firstMs?: number;
  /** Longest wait. Default 1000. */
  readonly maxMs?: number;
}

export interface LinkEvents {
  onDisconnected(reason: VfioError): void;
  onReconnectFailed(error: VfioError): void;
  onReconnected(): void;
  /** Puts the new server where the old one was, before anyone else uses it. */
  restore(connection: Connection): Promise<void>;
}

export interface LinkOptions {
  readonly proposal: Proposal;
  readonly maps: DmaMaps;
  /** Of the negotiation and of connecting. */
  readonly timeoutMs: number;
  readonly reconnect: BackOff | undefined;
}

interface Held {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: Error) => void;
}

export class Link {
  #connection: Connection | undefined;
  /** Why there will be no connection any more. */
  #over: VfioError | undefined;
  readonly #held = new Set<Held>();
  readonly #closing = new AbortController();

  private constructor(
    private readonly path: string | undefined,
    private readonly options: LinkOptions,
    private readonly events: LinkEvents,
  ) {}

  /** @throws SyscallError from connect; VfioError from the negotiation */
  static async open(
    server: string | Fd,
    options: LinkOptions,
    events: LinkEvents,
    call: CallOptions,
  ): Promise<Link> {
    const path = typeof server === "string" ? server : undefined;
    const link = new Link(path, options, events);
    const fd = typeof server === "string" ? await dial(server, options.timeoutMs, call.signal) : server;
    link.#connection = await link.#negotiate(fd, call);
    return link;
  }

  /** The connection in use; undefined while there is none. */
  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** Runs `use` on the connection: at once, or when there is one again. @throws VfioError ENOTCONN … */
  with<T>(options: CallOptions, use: (connection: Connection) => Promise<T>): Promise<T> {
    if (this.#connection) return use(this.#connection);
    if (this.#over) return Promise.reject(new VfioError("ENOTCONN", `not connected (${this.#over.message})`));
    return this.#hold(options).then(use);
  }

  /** Ends it for good. */
  close(reason: VfioError): void {
    this.#over ??= reason;
    this.#closing.abort();
    this.#connection?.close(reason);
    this.#connection = undefined;
    for (const { reject } of [...this.#held]) reject(reason);
  }

  #negotiate(fd: Fd, call: CallOptions): Promise<Connection> {
    const { proposal, maps, timeoutMs } = this.options;
    const onEnd = (ended: Connection, reason: VfioError): void => {
      if (ended === this.#connection) this.#lost(reason);
    };
    const server = this.path === undefined ? "the server" : `the server at ${this.path}`;
    return Connection.open(fd, proposal, maps, { timeoutMs, ...call }, onEnd, server);
  }

  #lost(reason: VfioError): void {
    this.#connection = undefined;
    const again = this.path !== undefined && this.options.reconnect !== undefined;
    if (!again) this.#over = reason;
    this.events.onDisconnected(reason);
    if (again) void this.#reconnect(this.path, this.options.reconnect);
  }

  async #reconnect(path: string, { firstMs = 10, maxMs = 1000 }: BackOff): Promise<void> {
    const { signal } = this.#closing;
    for (let wait = 0; !signal.aborted; wait = wait === 0 ? firstMs : Math.min(2 * wait, maxMs)) {
      try {
        if (wait) await sleep(wait, undefined, { signal });
        await this.#attempt(path, signal);
        return;
      } catch (error) {
        if (!this.#over) this.events.onReconnectFailed(asVfioError(error));
      }
    }
  }

  async #attempt(path: string, signal: AbortSignal): Promise<void> {
    const fd = await dial(path, this.options.timeoutMs, signal);
    const connection = await this.#negotiate(fd, { signal });
    const abort = (): void => connection.close(abortError("reconnect", signal));
    signal.addEventListener("abort", abort);
    try {
      await this.events.restore(connection);
      // Everything in it may have been answered just before the server went away again, or there was nothing in it.
      if (connection.closed) throw new VfioError("ECONNRESET", "the server closed the connection");
    } catch (error) {
      connection.close(asVfioError(error));
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
    this.#connection = connection;
    this.events.onReconnected();
    for (const { resolve } of [...this.#held]) resolve(connection);
  }

  #hold({ timeoutMs = Infinity, signal }: CallOptions): Promise<Connection> {
    return new Promise<Connection>((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortError("command", signal));
        return;
      }
      const abort = (): void => settle(() => reject(abortError("command", signal!)));
      const expire = (): void =>
        settle(() => reject(new VfioError("ETIMEDOUT", "the server has not come back in time")));
      const timer = timeoutMs === Infinity ? undefined : setTimeout(expire, timeoutMs);
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#held.delete(held);
        finish();
      };
      const held: Held = {
        resolve: (connection) => settle(() => resolve(connection)),
        reject: (error) => settle(() => reject(error)),
      };
      signal?.addEventListener("abort", abort);
      this.#held.add(held);
    });
  }
}
