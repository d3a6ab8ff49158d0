import { VfioError } from "@vfiokit/core";
import { connectUnix, peerCredentials, reactor, UnixListener, type Fd, type Watch } from "../linux/index.js";
import { LineSocket } from "../admin/line-socket.js";
import { MAX_REPLY } from "../admin/protocol.js";
import { moveFailure, parseRelayRequest, type RelayLine, type RelayRequest } from "./control-protocol.js";
import type { Relay } from "./relay.js";

const MAX_REQUEST = 16 * 1024;
const MAX_CONNECTIONS = 16;

/** The control socket of a relay: control-protocol.ts says what goes over it. */
export class RelayControl {
  readonly #connections = new Map<LineSocket, Promise<void>>();
  #listener: UnixListener | undefined;
  #watch: Watch | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly path: string,
  ) {}

  /** @throws SyscallError EADDRINUSE, EACCES … */
  listen(): void {
    const listener = new UnixListener(this.path);
    this.#listener = listener;
    this.#watch = reactor.add(listener.fd, { onReadable: () => this.#accept(listener) });
  }

  /** Ends every connection, which cancels what goes on for it, and waits for that. */
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
    if (this.#connections.size < MAX_CONNECTIONS) this.#serve(fd);
    else fd.close();
    return true;
  }

  #serve(fd: Fd): void {
    const { pid, uid } = peerCredentials(fd);
    const socket = new LineSocket(fd, MAX_REQUEST);
    const served = this.#converse(socket, `process ${pid} of user ${uid}`)
      // The peer is gone, or does not keep to the protocol.
      .catch((error: unknown) => this.relay.log("debug", `control socket: ${String(error)}`))
      .finally(() => {
        socket.close();
        this.#connections.delete(socket);
      });
    this.#connections.set(socket, served);
  }

  async #converse(socket: LineSocket, who: string): Promise<void> {
    for (let line; (line = await socket.readLine());) {
      const answer = await this.#answer(socket, line, who);
      if (answer === undefined) continue;
      await (typeof answer === "string" ? socket.writeLine(answer) : say(socket, answer));
    }
  }

  /** @returns the last line of the answer; text: the server's own; undefined: there is none */
  async #answer(socket: LineSocket, line: Uint8Array, who: string): Promise<RelayLine | string | undefined> {
    try {
      const request = parse(line);
      if (request.command === "info") return { result: this.relay.status };
      if (request.command === "cancel") return undefined;
      if (request.command === "other") return await this.#ofServer(line);
      this.relay.log("info", `${who} asks for a move to ${request.to}`);
      return { result: await this.#migrate(socket, request) };
    } catch (error) {
      return { error: moveFailure(error) };
    }
  }

  async #migrate(
    socket: LineSocket,
    { to, options }: Extract<RelayRequest, { command: "migrate" }>,
  ): Promise<unknown> {
    const abort = new AbortController();
    const over = new AbortController();
    const signal = AbortSignal.any([abort.signal, socket.gone]);
    void this.#untilCancelled(socket, over.signal).then(() => abort.abort());
    let said = Promise.resolve();
    try {
      const result = await this.relay.migrate(to, { ...options, signal }, (event) => {
        said = said.then(() => say(socket, { event })).catch(() => undefined);
      });
      return result;
    } finally {
      over.abort();
      await said;
    }
  }

  /** The next line during a move can only be one. */
  async #untilCancelled(socket: LineSocket, over: AbortSignal): Promise<void> {
    try {
      await Promise.race([
        socket.readLine(),
        new Promise((_, reject) => over.addEventListener("abort", reject)),
      ]);
    } catch {
      await new Promise(() => undefined); // it was not cancelled
    }
  }

  /** A command for the server of the moment. */
  async #ofServer(line: Uint8Array): Promise<string> {
    using server = new LineSocket(connectUnix(`${this.relay.serverPath}.ctl`), MAX_REPLY);
    await server.writeLine(new TextDecoder().decode(line));
    const answer = await server.readLine();
    if (!answer) throw new VfioError("ECONNRESET", "the server closed the connection");
    return new TextDecoder().decode(answer);
  }
}

/** @throws VfioError EINVAL */
function parse(line: Uint8Array): RelayRequest {
  try {
    return parseRelayRequest(line);
  } catch (error) {
    if (error instanceof VfioError) throw error;
    throw new VfioError("EINVAL", `a request of ${line.length} bytes: not JSON`);
  }
}

function say(socket: LineSocket, line: RelayLine): Promise<void> {
  return socket.writeLine(JSON.stringify(line));
}
