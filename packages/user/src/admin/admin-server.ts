import { VfioError } from "@vfiokit/core";
import type { Log } from "../server/options.js";
import type { DeviceAdmin } from "./device-admin.js";
import { LineServer } from "./line-server.js";
import type { LineSocket } from "./line-socket.js";
import { changes, failureOf, MAX_REQUEST, parseRequest, type AdminReply } from "./protocol.js";

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
  readonly #server: LineServer;

  constructor(
    private readonly admin: DeviceAdmin,
    options: AdminServerOptions,
  ) {
    this.#log = options.log ?? (() => undefined);
    this.#server = new LineServer({
      path: options.socketPath,
      maxLine: MAX_REQUEST,
      log: this.#log,
      converse: (socket, who) => this.#converse(socket, who),
      onFailure: (error) => {
        if (!(error instanceof VfioError)) this.#logBug(error);
      },
    });
  }

  /** @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES … */
  listen(): void {
    this.#server.listen();
  }

  /** Stops listening, removes the socket, cancels what waits, and ends every connection. */
  close(): Promise<void> {
    return this.#server.close();
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
