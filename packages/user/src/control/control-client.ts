import { VfioError } from "@vfiokit/core";
import { connectUnix } from "../linux/index.js";
import { failureIn, MAX_REPLY, parseObject, type ControlFailure, type JsonObject } from "./json.js";
import { LineSocket } from "./line-socket.js";

/** How a request to a control socket is made. */
export interface ControlCallOptions {
  /** For the answer, from the request or from the event before. Default: as long as it takes. */
  readonly timeoutMs?: number;
  /** Lines that come before the result. */
  readonly onEvent?: (event: unknown) => void;
  /** What a failure is thrown as. Default: VfioError. */
  readonly errorOf?: (failure: ControlFailure) => Error;
}

/** A connection to a control socket. Requests are carried out one at a time. */
export class ControlClient implements Disposable {
  readonly #socket: LineSocket;
  /** A request was not answered in time: its answer would be taken for that of the next. */
  #late: VfioError | undefined;

  /** @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EACCES … */
  constructor(private readonly path: string) {
    this.#socket = new LineSocket(connectUnix(path), MAX_REPLY);
  }

  /**
   * Sends a request and waits for its result.
   * @throws VfioError what the server answers; ECONNRESET, EPIPE: it closed the connection; EPROTO: it is no control
   *   socket; ETIMEDOUT, then and from then on
   */
  async request(request: object, options: ControlCallOptions = {}): Promise<JsonObject> {
    if (this.#late) throw this.#late;
    const { timeoutMs } = options;
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#giveUp(timeoutMs), timeoutMs);
    try {
      await this.say(request);
      return await this.#result(options, () => timer?.refresh());
    } catch (error) {
      throw this.#overdue() ?? error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a line that has no answer of its own. @throws VfioError EPIPE */
  say(line: object): Promise<void> {
    return this.#socket.writeLine(JSON.stringify(line));
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #giveUp(timeoutMs: number): void {
    this.#late = new VfioError("ETIMEDOUT", `${this.path}: no answer within ${timeoutMs / 1000} s`);
    this.close();
  }

  #overdue(): VfioError | undefined {
    return this.#late;
  }

  async #result({ onEvent, errorOf }: ControlCallOptions, heard: () => void): Promise<JsonObject> {
    for (;;) {
      const line = await this.#socket.readLine();
      if (!line) throw new VfioError("ECONNRESET", "the server closed the connection");
      const { event, result, error } = replyOf(line);
      heard();
      if (event !== undefined && onEvent) onEvent(event);
      else if (typeof result === "object" && result !== null) return result as JsonObject;
      else {
        const failure = failureIn(error);
        throw errorOf ? errorOf(failure) : new VfioError(failure.code, failure.message);
      }
    }
  }
}

function replyOf(line: Uint8Array): JsonObject {
  try {
    return parseObject("reply", line);
  } catch {
    throw new VfioError("EPROTO", "the answer is no JSON object: is it a control socket?");
  }
}
