import { VfioError } from "@vfiokit/core";
import { peerCredentials, reactor, UnixListener, type Fd, type Watch } from "../linux/index.js";
import type { Log } from "../server/options.js";
import type { DeviceAdmin } from "./device-admin.js";
import { LineSocket } from "./line-socket.js";
import { changes, failureOf, MAX_REQUEST, parseRequest, type AdminReply } from "./protocol.js";

/** An administrator has one; `vfiokit ctl` is short-lived. */
const MAX_CONNECTIONS = 16;

export interface AdminServerOptions {
  /** Listen at this path, with mode 0600. */
  readonly socketPath: string;
  readonly log?: Log;
}

/**
 * The control socket of a device: `DeviceAdmin` for other processes (docs/administration.md). Requests of one
 * connection are carried out one after the other, those of several side by side. When an administrator hangs up, what
 * still waits for a lock on its behalf is cancelled.
 */
export class AdminServer {
  readonly #log: Log;
  readonly #connections = new Map<LineSocket, Promise<void>>();
  #listener: UnixListener | undefined;
  #watch: Watch | undefined;

  constructor(
    private readonly admin: DeviceAdmin,
    private readonly options: AdminServerOptions,
  ) {
    this.#log = options.log ?? (() => undefined);
  }

  /** @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES … */
  listen(): void {
    const listener = new UnixListener(this.options.socketPath);
    this.#listener = listener;
    this.#watch = reactor.add(listener.fd, { onReadable: () => this.#accept(listener) });
  }

  /** Stops listening, removes the socket, cancels what waits, and ends every connection. */
  async close(): Promise<void> {
    this.#watch?.remove();
    this.#listener?.close();
    const served = [...this.#connections.values()];
    for (const socket of this.#connections.keys()) socket.close();
    await Promise.all(served);
  }

  #accept(listener: UnixListener): boolean {
    const fd = listener.accept();
    if (!fd) return false;
    if (this.#connections.size < MAX_CONNECTIONS) {
      this.#serve(fd);
    } else {
      this.#log("warn", `control socket: turned away, ${MAX_CONNECTIONS} are connected`);
      fd.close();
    }
    return true;
  }

  #serve(fd: Fd): void {
    const { pid, uid } = peerCredentials(fd);
    const socket = new LineSocket(fd, MAX_REQUEST);
    const served = this.#converse(socket, `process ${pid} of user ${uid}`)
      .catch((error: unknown) => {
        if (!(error instanceof VfioError)) this.#logBug(error);
      })
      .finally(() => {
        socket.close();
        this.#connections.delete(socket);
      });
    this.#connections.set(socket, served);
  }

  async #converse(socket: LineSocket, who: string): Promise<void> {
    try {
      for (let line; (line = await socket.readLine());)
        await socket.writeLine(JSON.stringify(await this.#answer(line, who, socket.gone)));
    } catch (error) {
      // Where the next request begins is unknown.
      if (!(error instanceof VfioError) || error.code !== "EMSGSIZE") throw error;
      await socket.writeLine(JSON.stringify(failureOf(error)));
    }
  }

  async #answer(line: Uint8Array, who: string, gone: AbortSignal): Promise<AdminReply> {
    try {
      const request = parseRequest(line);
      this.#log(changes(request) ? "info" : "debug", `${who} asks for ${Object.values(request).join(" ")}`);
      return { result: await this.admin.perform(request, gone) };
    } catch (error) {
      if (error instanceof VfioError) return failureOf(error);
      this.#logBug(error);
      return failureOf(new VfioError("EIO", "a bug: the server's log has it"));
    }
  }

  #logBug(error: unknown): void {
    this.#log("error", `a bug: ${error instanceof Error ? error.stack : String(error)}`);
  }
}
