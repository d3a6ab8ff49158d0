import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";

/** Somebody who listens where a server of ours should. */
export class Peer implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  private constructor(private readonly server: Server) {}

  /** @param at a path, or a port */
  static async listen(at: string | number, onConnection: (socket: Socket) => void): Promise<Peer> {
    const server = createServer();
    const peer = new Peer(server);
    server.on("connection", (socket) => {
      peer.#sockets.add(socket);
      socket.on("error", () => undefined);
      onConnection(socket);
    });
    server.listen(typeof at === "string" ? { path: at } : { port: at, host: "127.0.0.1" });
    await once(server, "listening");
    return peer;
  }

  /** A control socket that answers every request with the same line. */
  static answering(path: string, answer: unknown): Promise<Peer> {
    const line = `${typeof answer === "string" ? answer : JSON.stringify(answer)}\n`;
    return Peer.listen(path, (socket) => socket.on("data", () => socket.write(line)));
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await once(this.server, "close");
  }
}
