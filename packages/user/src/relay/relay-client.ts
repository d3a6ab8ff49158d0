import { VfioError } from "@vfiokit/core";
import { checked, ControlClient, controlSocketOf } from "../control/index.js";
import { SyscallError } from "../linux/index.js";
import type { MigrateEvent, SavedImage } from "../migrate/index.js";
import { moveError, type RemoteMoveOptions } from "./control-protocol.js";
import type { MoveResult } from "./move.js";
import type { RelayStatus } from "./relay.js";
import { checkedEvent, checkedMove, relayStatus, savedImage, savedPiece } from "./results.js";

/** A connection to a relay's control socket. */
export class RelayClient implements Disposable {
  private constructor(private readonly control: ControlClient) {}

  /**
   * Connects to the relay whose socket, or whose control socket, is at `path`.
   * @param timeoutMs for its answer
   * @returns undefined: what is there is no relay
   * @throws SyscallError EACCES; VfioError ETIMEDOUT
   */
  static async open(path: string, timeoutMs = 10_000): Promise<RelayClient | undefined> {
    const control = controlSocketOf(path);
    if (control === undefined) return undefined;
    let client: RelayClient;
    try {
      client = new RelayClient(new ControlClient(control));
    } catch (error) {
      if (error instanceof SyscallError && error.code !== "EACCES") return undefined;
      throw error;
    }
    try {
      await client.status(timeoutMs);
      return client;
    } catch (error) {
      if (!(error instanceof VfioError) || error.code === "ETIMEDOUT") throw error;
    }
    client.close();
    return undefined;
  }

  /** @throws VfioError ECONNRESET: it is gone; ETIMEDOUT */
  async status(timeoutMs = 10_000): Promise<RelayStatus> {
    return checked(relayStatus, await this.control.request({ command: "info" }, { timeoutMs }));
  }

  /**
   * Saves the device, whose client goes on. Its image goes to `write`, one chunk after the other.
   * @throws VfioError what the relay says; ECONNRESET: it has gone; ECANCELED: `signal`; what `write` throws
   */
  async save(
    write: (bytes: Uint8Array) => Promise<void>,
    { signal, timeoutMs }: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {},
  ): Promise<SavedImage> {
    let written = Promise.resolve();
    const onEvent = (event: unknown): void => {
      const bytes = Buffer.from(checked(savedPiece, event).image, "base64");
      written = written.then(() => write(bytes));
      written.catch(() => this.close());
    };
    const cancel = (): void => this.close();
    signal?.addEventListener("abort", cancel);
    try {
      const saved = this.control.request(
        { command: "save" },
        { onEvent, ...(timeoutMs !== undefined && { timeoutMs }) },
      );
      return checked(savedImage, await saved);
    } catch (error) {
      if (signal?.aborted) throw new VfioError("ECANCELED", "saving was cancelled");
      throw error;
    } finally {
      signal?.removeEventListener("abort", cancel);
      // What `write` has thrown is the reason.
      await written;
    }
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
      // The relay has gone, otherwise: the request says so.
      this.control.say({ command: "cancel" }).catch(() => undefined);
    };
    const moved = this.control.request(
      { command: "migrate", to, options },
      { onEvent: (event) => onEvent(checkedEvent(event)), errorOf: moveError },
    );
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel);
    try {
      return checkedMove(await moved);
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  close(): void {
    this.control.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
