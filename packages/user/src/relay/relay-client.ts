import { existsSync } from "node:fs";
import { VfioError } from "@vfiokit/core";
import { connectUnix, SyscallError } from "../linux/index.js";
import { LineSocket } from "../admin/line-socket.js";
import { MAX_REPLY } from "../admin/protocol.js";
import type { MigrateEvent } from "../migrate/index.js";
import { moveError, type RelayLine, type RemoteMoveOptions } from "./control-protocol.js";
import type { MoveResult } from "./move.js";
import type { RelayStatus } from "./relay.js";

/** A connection to a relay's control socket. */
export class RelayClient implements Disposable {
  private constructor(private readonly socket: LineSocket) {}

  /**
   * Connects to the relay whose socket, or whose control socket, is at `path`.
   * @returns undefined: what is there is no relay
   * @throws SyscallError EACCES
   */
  static async open(path: string): Promise<RelayClient | undefined> {
    const control = existsSync(`${path}.ctl`) ? `${path}.ctl` : path;
    let client: RelayClient;
    try {
      client = new RelayClient(new LineSocket(connectUnix(control), MAX_REPLY));
    } catch (error) {
      if (error instanceof SyscallError && error.code !== "EACCES") return undefined;
      throw error;
    }
    try {
      if ("relay" in (await client.status())) return client;
    } catch (error) {
      if (!(error instanceof VfioError)) throw error;
    }
    client.close();
    return undefined;
  }

  /** @throws VfioError ECONNRESET: it is gone */
  async status(): Promise<RelayStatus> {
    await this.socket.writeLine(JSON.stringify({ command: "info" }));
    return (await this.#last(() => undefined)) as RelayStatus;
  }

  /**
   * Has the relay move its device to the server at `to`, an absolute path.
   * @param signal cancels it, if it is not too late
   * @throws MigrateError, VfioError: what the relay says; ECONNRESET: the relay has gone, and nobody knows how it ended
   */
  async migrate(
    to: string,
    options: RemoteMoveOptions,
    onEvent: (event: MigrateEvent) => void = () => undefined,
    signal?: AbortSignal,
  ): Promise<MoveResult> {
    const cancel = (): void => {
      // The relay has gone, otherwise: `#last` says so.
      this.socket.writeLine(JSON.stringify({ command: "cancel" })).catch(() => undefined);
    };
    await this.socket.writeLine(JSON.stringify({ command: "migrate", to, options }));
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel);
    try {
      return (await this.#last(onEvent)) as MoveResult;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  close(): void {
    this.socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #last(onEvent: (event: MigrateEvent) => void): Promise<unknown> {
    for (;;) {
      const line = await this.socket.readLine();
      if (!line) throw new VfioError("ECONNRESET", "the relay closed the connection");
      const answer = parse(line);
      if ("event" in answer) onEvent(answer.event);
      else if ("error" in answer) throw moveError(answer.error);
      else return answer.result;
    }
  }
}

/** @throws VfioError EPROTO */
function parse(line: Uint8Array): RelayLine {
  try {
    const answer: unknown = JSON.parse(new TextDecoder().decode(line));
    if (typeof answer === "object" && answer !== null) return answer as RelayLine;
  } catch {
    // Said below.
  }
  throw new VfioError("EPROTO", "the answer is no JSON object: is it a control socket?");
}
