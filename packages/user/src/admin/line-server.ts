import { peerCredentials, type Fd } from "../linux/index.js";
import type { Log } from "../server/options.js";
import { Listener } from "../socket/index.js";
import { LineSocket } from "./line-socket.js";

/** An administrator has one; `vfiokit ctl` is short-lived. */
const MAX_CONNECTIONS = 16;

export interface LineServerOptions {
  /** Listen at this path, with mode 0600. */
  readonly path: string;
  /** Bytes of a line at most, without its newline. */
  readonly maxLine: number;
  readonly log: Log;
  /** Serves one connection, until it returns or throws. @param who the peer, for the log */
  readonly converse: (socket: LineSocket, who: string) => Promise<void>;
  /** Why a conversation broke off. */
  readonly onFailure: (error: unknown) => void;
}

/** A control socket: listens, and keeps its connections, each of which is a conversation in lines. */
export class LineServer {
  readonly #connections = new Map<LineSocket, Promise<void>>();
  #listener: Listener | undefined;

  constructor(private readonly options: LineServerOptions) {}

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
    if (this.#connections.size < MAX_CONNECTIONS) {
      this.#serve(fd);
    } else {
      this.options.log("warn", `control socket: turned away, ${MAX_CONNECTIONS} are connected`);
      fd.close();
    }
  }

  #serve(fd: Fd): void {
    const { maxLine, converse, onFailure } = this.options;
    const { pid, uid } = peerCredentials(fd);
    const socket = new LineSocket(fd, maxLine);
    const served = converse(socket, `process ${pid} of user ${uid}`)
      .catch(onFailure)
      .finally(() => {
        socket.close();
        this.#connections.delete(socket);
      });
    this.#connections.set(socket, served);
  }
}
