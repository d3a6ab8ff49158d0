import { errnoName, VfioError } from "@vfiokit/core";
import type { ClientMemory } from "@vfiokit/core/host";
import { decodeMessage, encodeRequest, type ReplyPayload } from "../wire/index.js";
import { ReplyError, Outstanding } from "../socket/index.js";

/**
 * The client's memory by messages: VFIO_USER_DMA_READ and DMA_WRITE. It only sends and matches replies; the
 * connection hands the replies over as they arrive, in the middle of whatever else is going on, so no command
 * of the client can be in the way (libvfio-user issues 279 and 466).
 */
export class DmaClient implements ClientMemory {
  readonly #outstanding = new Outstanding("the client");
  #gone: VfioError | undefined;

  /**
   * @param send puts a message on the socket
   * @param maxCount the client's max_data_xfer_size: longer accesses become several messages
   * @param timeoutMs to wait for each reply
   */
  constructor(
    private readonly send: (message: Uint8Array) => void,
    private readonly maxCount: number,
    private readonly timeoutMs: number,
  ) {}

  /** Whether replies are expected. */
  get waiting(): boolean {
    return this.#outstanding.count > 0;
  }

  /** @throws VfioError EIO: what the client says; ETIMEDOUT; ENOTCONN; EPROTO for a reply that does not fit */
  async read(address: bigint, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length;) {
      const count = this.#chunk(into.length - done);
      const at = address + BigInt(done);
      const reply = await this.#request("DMA_READ", { address: at, count: BigInt(count) });
      if (reply.data.length !== count)
        throw new VfioError("EPROTO", `DMA_READ of ${count} bytes: the client sent ${reply.data.length}`);
      into.set(reply.data, done);
      done += count;
    }
  }

  /** @throws as `read` */
  async write(address: bigint, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length;) {
      const count = this.#chunk(from.length - done);
      const at = address + BigInt(done);
      const data = from.subarray(done, done + count);
      const { written } = await this.#request("DMA_WRITE", { address: at, count: BigInt(count), data });
      if (written && written.count !== BigInt(count))
        throw new VfioError("EPROTO", `DMA_WRITE of ${count} bytes: the client took ${written.count}`);
      done += count;
    }
  }

  /**
   * Takes a reply that has arrived. Byte arrays of it are copied before this returns.
   * @returns false where nobody waits for it
   */
  take(message: Uint8Array): boolean {
    const view = new DataView(message.buffer);
    return this.#outstanding.reply(message, view, []);
  }

  /** The client is gone: whoever waits learns it. */
  close(): void {
    this.#gone = new VfioError("ENOTCONN", "DMA by message: the client is gone");
    this.#outstanding.fail(this.#gone);
  }

  #chunk(count: number): number {
    if (this.maxCount === 0)
      throw new VfioError("EOPNOTSUPP", "DMA by message: the client's max_data_xfer_size is 0");
    return Math.min(count, this.maxCount);
  }

  async #request<C extends "DMA_READ" | "DMA_WRITE">(
    command: C,
    payload: Parameters<typeof encodeRequest<C>>[2],
  ): Promise<ReplyPayload<C>> {
    if (this.#gone) throw this.#gone;
    try {
      return await this.#outstanding.request(
        command,
        { timeoutMs: this.timeoutMs },
        (id) => this.send(encodeRequest(command, id, payload)),
        (message) => (decodeMessage(message.slice()) as { payload?: unknown }).payload as ReplyPayload<C>,
      );
    } catch (error) {
      // To the device it is an access that failed, whatever the client calls it.
      if (error instanceof ReplyError)
        throw new VfioError("EIO", `${command}: the client answered ${errnoName(error.errno)}`);
      throw error;
    }
  }
}
