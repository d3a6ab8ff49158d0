import { VfioError } from "@vfiokit/core";
import { connectUnix } from "../linux/index.js";
import { LineServer } from "../admin/line-server.js";
import { LineSocket } from "../admin/line-socket.js";
import { MAX_REPLY } from "../admin/protocol.js";
import { moveFailure, parseRelayRequest, type RelayLine, type RelayRequest } from "./control-protocol.js";
import type { Relay } from "./relay.js";

const MAX_REQUEST = 16 * 1024;

/** The control socket of a relay: control-protocol.ts says what goes over it. */
export class RelayControl {
  readonly #server: LineServer;

  constructor(
    private readonly relay: Relay,
    path: string,
  ) {
    this.#server = new LineServer({
      path,
      maxLine: MAX_REQUEST,
      log: relay.log,
      converse: (socket, who) => this.#converse(socket, who),
      // The peer is gone, or does not keep to the protocol.
      onFailure: (error) => relay.log("debug", `control socket: ${String(error)}`),
    });
  }

  /** @throws SyscallError EADDRINUSE, EACCES … */
  listen(): void {
    this.#server.listen();
  }

  /** Ends every connection, which cancels what goes on for it, and waits for that. */
  close(): Promise<void> {
    return this.#server.close();
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
