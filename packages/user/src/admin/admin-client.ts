import { VfioError } from "@vfiokit/core";
import { connectUnix } from "../linux/index.js";
import { LineSocket } from "./line-socket.js";
import {
  MAX_REPLY,
  parseReply,
  type AdminCommand,
  type AdminRequest,
  type AdminResults,
} from "./protocol.js";

/** A connection to a device's control socket. */
export class AdminClient implements Disposable {
  readonly #socket: LineSocket;

  /** @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EACCES … */
  constructor(path: string) {
    this.#socket = new LineSocket(connectUnix(path), MAX_REPLY);
  }

  /**
   * Sends a request and waits for its reply; one at a time.
   * @throws VfioError what the server answers; ECONNRESET: it closed the connection; EPROTO: it is no control socket
   */
  async request<C extends AdminCommand>(request: AdminRequest<C>): Promise<AdminResults[C]> {
    await this.#socket.writeLine(JSON.stringify(request));
    const line = await this.#socket.readLine();
    if (!line) throw new VfioError("ECONNRESET", "the server closed the connection");
    return parseReply(line) as AdminResults[C];
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
