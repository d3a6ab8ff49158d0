import { checked, ControlClient, type ControlCallOptions } from "../control/index.js";
import type { AdminCommand, AdminRequest, AdminResults } from "./protocol.js";
import { resultSchemas } from "./results.js";

/** A connection to a device's control socket. */
export class AdminClient implements Disposable {
  readonly #control: ControlClient;

  /** @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EACCES … */
  constructor(path: string) {
    this.#control = new ControlClient(path);
  }

  /**
   * Sends a request and waits for its reply; one at a time.
   * @throws VfioError what the server answers; ECONNRESET: it closed the connection; EPROTO: it is no control socket;
   *   ETIMEDOUT, then and from then on
   */
  async request<C extends AdminCommand>(
    request: AdminRequest<C>,
    options: Pick<ControlCallOptions, "timeoutMs"> = {},
  ): Promise<AdminResults[C]> {
    const result = await this.#control.request(request, options);
    return checked<AdminResults[AdminCommand]>(resultSchemas[request.command], result) as AdminResults[C];
  }

  close(): void {
    this.#control.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
