import { VfioError } from "@vfiokit/core";
import { peerCredentials, type Fd } from "../linux/index.js";
import type { Log } from "../server/options.js";
import { Listener } from "../socket/index.js";
import { failureOf } from "./json.js";
import { LineSocket } from "./line-socket.js";

/** An administrator has one; `vfiokit ctl` is short-lived. */
const MAX_CONNECTIONS = 16;
/** For a request that has begun to be sent whole, and for a reply to be read, in milliseconds. */
const WITHIN_MS = 10_000;

/** Who has asked. */
export interface ControlPeer {
  /** "process 812 of user 0", for the log. */
  readonly who: string;
  readonly socket: LineSocket;
}

export interface ControlServerOptions {
  /** Listen at this path, with mode 0600. */
  readonly path: string;
  /** Bytes of a request at most, without its newline. */
  readonly maxLine: number;
  readonly log: Log;
  /** Milliseconds in which a request that was begun has to be there, and a reply read. Default 10,000. */
  readonly withinMs?: number;
  /** Carries out a request. @returns its result; undefined: there is no answer. @throws VfioError, SyscallError */
  readonly perform: (line: Uint8Array, peer: ControlPeer) => Promise<object | undefined>;
  /** What the answer to a request that failed says besides. */
  readonly about?: (error: unknown) => object;
}

/**
 * A control socket: each request and each reply is one line of JSON, and replies come in the order of the requests.
 * Requests of one connection are carried out one after the other, those of several side by side.
 */
export class ControlServer {
  readonly #connections = new Map<LineSocket, Promise<void>>();
  /** Those whose next request is waited for, the one that waits longest first. */
  readonly #idle = new Set<LineSocket>();
  #listener: Listener | undefined;

  constructor(private readonly options: ControlServerOptions) {}

  /** @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES … */
  listen(): void {
    this.#listener = new Listener(this.options.path, this.options.log, (fd) => this.#accept(fd));
  }

  /** Stops listening, removes the socket, ends every connection, and waits until the conversations are over. */
  async close(): Promise<void> {
    this.#listener?.close();
    const served = [...this.#connections.values()];
    for (const socket of this.#connections.keys()) socket.close();
    await Promise.all(served);
  }

  #accept(fd: Fd): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      const [longest] = this.#idle;
      const full = `control socket: ${MAX_CONNECTIONS} are connected`;
      if (!longest) {
        this.options.log("warn", `${full}, and busy: another one was turned away`);
        fd.close();
        return;
      }
      this.options.log("warn", `${full}: who has been silent for longest makes way for another one`);
      this.#forget(longest);
      longest.close();
    }
    this.#serve(fd);
  }

  #forget(socket: LineSocket): void {
    this.#connections.delete(socket);
    this.#idle.delete(socket);
  }

  #serve(fd: Fd): void {
    const { pid, uid } = peerCredentials(fd);
    const { maxLine, withinMs = WITHIN_MS } = this.options;
    const socket = new LineSocket(fd, maxLine, withinMs);
    const served = this.#converse({ socket, who: `process ${pid} of user ${uid}` })
      .catch((error: unknown) => {
        // The peer is gone, otherwise.
        if (!(error instanceof VfioError)) this.#logBug(error);
      })
      .finally(() => {
        socket.close();
        this.#forget(socket);
      });
    this.#connections.set(socket, served);
  }

  async #converse(peer: ControlPeer): Promise<void> {
    const { socket } = peer;
    try {
      for (let line; (line = await this.#next(socket));) {
        const reply = await this.#answer(line, peer);
        if (reply) await socket.writeLine(JSON.stringify(reply));
      }
    } catch (error) {
      // Where the next request begins is unknown.
      if (!(error instanceof VfioError) || error.code !== "EMSGSIZE") throw error;
      await socket.writeLine(JSON.stringify({ error: failureOf(error) }));
    }
  }

  async #next(socket: LineSocket): Promise<Uint8Array | undefined> {
    this.#idle.add(socket);
    try {
      return await socket.readLine();
    } finally {
      this.#idle.delete(socket);
    }
  }

  async #answer(line: Uint8Array, peer: ControlPeer): Promise<object | undefined> {
    try {
      const result = await this.options.perform(line, peer);
      return result && { result };
    } catch (error) {
      const failure = failureOf(error);
      if (failure) return { error: { ...failure, ...this.options.about?.(error) } };
      this.#logBug(error);
      return { error: failureOf(new VfioError("EIO", "a bug: the server's log has it")) };
    }
  }

  #logBug(error: unknown): void {
    this.options.log("error", `a bug: ${error instanceof Error ? error.stack : String(error)}`);
  }
}
