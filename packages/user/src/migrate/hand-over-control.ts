import { VfioError } from "@vfiokit/core";
import type { StreamLayout } from "@vfiokit/core/migration";
import {
  AdminClient,
  type AdminRequest,
  type AdminResults,
  type HandOverReport,
  type HandOverStep,
} from "../admin/index.js";
import { controlPath } from "../control/index.js";
import { nobodyListens, SyscallError } from "../linux/index.js";
import { EndpointGoneError, isAnswer } from "./errors.js";

/** A step waits for the device's locks, which a reset or a transition of a client may have. Milliseconds. */
const TIMEOUT_MS = 30_000;

/** A step that does something. */
export type HandOverAction = Exclude<HandOverStep, "status">;

/** A device's part in the hand-over, through its control socket. The connection lives as long as the server. */
export class HandOverControl implements Disposable {
  private constructor(
    readonly path: string,
    private readonly admin: AdminClient,
    private readonly timeoutMs: number,
  ) {}

  /**
   * @param socket path of the device's socket
   * @param ctl path of the control socket; default: the device's and ".ctl"
   * @param timeoutMs that each request may take
   * @returns undefined: there is none, or the device has no hand-over
   * @throws VfioError EACCES: it is not for this user; EPROTO: it is no control socket
   */
  static async open(
    socket: string,
    ctl?: string,
    timeoutMs = TIMEOUT_MS,
  ): Promise<HandOverControl | undefined> {
    const path = ctl ?? controlPath(socket);
    let admin: AdminClient;
    try {
      admin = new AdminClient(path);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (nobodyListens(error) && ctl === undefined) return undefined;
      throw new VfioError(
        "EACCES",
        `${path}: the control socket is needed for the hand-over: ${error.message}`,
      );
    }
    const control = new HandOverControl(path, admin, timeoutMs);
    try {
      await control.status();
      return control;
    } catch (error) {
      control.close();
      // ENOTTY: the device has no migration. EINVAL: a server from before there was a hand-over.
      if (error instanceof VfioError && (error.code === "ENOTTY" || error.code === "EINVAL"))
        return undefined;
      throw error;
    }
  }

  status(id?: string): Promise<HandOverReport> {
    return this.#ask({ command: "hand-over", step: "status", ...(id !== undefined && { id }) });
  }

  /** What the device's stream is made of; undefined where the server does not tell. */
  async stream(): Promise<StreamLayout | undefined> {
    try {
      return await this.#ask({ command: "stream" });
    } catch (error) {
      if (isAnswer(error)) return undefined;
      throw error;
    }
  }

  /**
   * @param to of `give`: the target's name
   * @throws EndpointGoneError: the server has ended; VfioError: what the device answers; ETIMEDOUT: nobody knows whether
   *   it was done
   */
  step(step: HandOverAction, id: string, to?: string): Promise<HandOverReport> {
    return this.#ask({ command: "hand-over", step, id, ...(to !== undefined && { to }) });
  }

  /** Drops the state that was given away in hand-over `id`, by a reset, and lets the device run again without it. */
  async reclaim(id: string): Promise<void> {
    await this.step("discard", id);
  }

  close(): void {
    this.admin.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #ask<C extends "hand-over" | "stream">(request: AdminRequest<C>): Promise<AdminResults[C]> {
    try {
      return await this.admin.request(request, { timeoutMs: this.timeoutMs });
    } catch (error) {
      if (isAnswer(error) || (error instanceof VfioError && error.code === "ETIMEDOUT")) throw error;
      // The server closes this connection only at its end, and the kernel does when it is killed.
      throw new EndpointGoneError(`${this.path}: the server has ended`);
    }
  }
}
