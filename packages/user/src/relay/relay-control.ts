import {
  ControlClient,
  controlPath,
  ControlServer,
  type ControlPeer,
  type LineSocket,
} from "../control/index.js";
import { aboutMove, parseRelayRequest, type RelayRequest } from "./control-protocol.js";
import type { Relay } from "./relay.js";

const MAX_REQUEST = 16 * 1024;
/** Of an image, in a line. */
const IMAGE_BYTES = 192 * 1024;
/** For the server's answer to what is passed on to it. Its client waits for 10 s by default. */
const SERVER_TIMEOUT_MS = 9_000;

/** The control socket of a relay: control-protocol.ts says what goes over it. */
export class RelayControl {
  readonly #server: ControlServer;

  constructor(
    private readonly relay: Relay,
    path: string,
  ) {
    this.#server = new ControlServer({
      path,
      maxLine: MAX_REQUEST,
      log: relay.log,
      perform: (line, peer) => this.#perform(line, peer),
      about: aboutMove,
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

  async #perform(line: Uint8Array, { socket, who }: ControlPeer): Promise<object | undefined> {
    const request = parseRelayRequest(line);
    switch (request.command) {
      case "info":
        return this.relay.status;
      case "cancel":
        return undefined;
      case "save":
        this.relay.log("info", `${who} saves the device`);
        return this.#save(socket);
      case "other": {
        using server = new ControlClient(controlPath(this.relay.serverPath));
        return await server.request(request.request, { timeoutMs: SERVER_TIMEOUT_MS });
      }
      case "migrate":
        this.relay.log("info", `${who} asks for a move to ${request.to}`);
        return this.#migrate(socket, request);
    }
  }

  async #save(socket: LineSocket): Promise<object> {
    const { pieces, ...saved } = await this.relay.save();
    for (const piece of pieces)
      for (let at = 0; at < piece.length; at += IMAGE_BYTES) {
        const image = Buffer.from(piece.subarray(at, at + IMAGE_BYTES)).toString("base64");
        await socket.writeLine(JSON.stringify({ event: { image } }));
      }
    return saved;
  }

  async #migrate(
    socket: LineSocket,
    { to, options }: Extract<RelayRequest, { command: "migrate" }>,
  ): Promise<object> {
    const abort = new AbortController();
    const over = new AbortController();
    const signal = AbortSignal.any([abort.signal, socket.gone]);
    void this.#untilCancelled(socket, over.signal).then(() => abort.abort());
    let said = Promise.resolve();
    try {
      const result = await this.relay.migrate(to, { ...options, signal }, (event) => {
        said = said.then(() => socket.writeLine(JSON.stringify({ event }))).catch(() => undefined);
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
}
