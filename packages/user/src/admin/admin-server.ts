import { ControlServer } from "../control/index.js";
import type { Log } from "../server/options.js";
import type { DeviceAdmin } from "./device-admin.js";
import { changes, MAX_REQUEST, parseRequest } from "./protocol.js";

/** Where the control socket is, and who hears of it. */
export interface AdminServerOptions {
  /** Listen at this path, with mode 0600. */
  readonly socketPath: string;
  /** Where it reports who asked for what, and bugs. Default: nowhere. */
  readonly log?: Log;
}

/**
 * The control socket of a device: `DeviceAdmin` for other processes (docs/administration.md). When an administrator hangs
 * up, what still waits for a lock on its behalf is cancelled.
 */
export class AdminServer {
  readonly #server: ControlServer;

  constructor(admin: DeviceAdmin, { socketPath, log = () => undefined }: AdminServerOptions) {
    this.#server = new ControlServer({
      path: socketPath,
      maxLine: MAX_REQUEST,
      log,
      perform(line, { who, socket }) {
        const request = parseRequest(line);
        log(changes(request) ? "info" : "debug", `${who} asks for ${Object.values(request).join(" ")}`);
        return admin.perform(request, socket.gone);
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
}
