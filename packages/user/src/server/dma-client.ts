import { VfioError, errnoName } from "@vfiokit/core";
import type { ClientMemory } from "@vfiokit/core/host";
import {
  Command,
  decodeMessage,
  encodeRequest,
  Header,
  HeaderFlags,
  type CommandName,
  type ReplyPayload,
} from "../wire/index.js";

interface Outstanding {
  readonly command: CommandName;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (payload: unknown) => void;
  readonly reject: (error: VfioError) => void;
}

const ID_COUNT = 0x1_0000;

/**
 * The client's memory by messages: VFIO_USER_DMA_READ and DMA_WRITE. It only sends and matches replies; the
 * connection hands the replies over as they arrive, in the middle of whatever else is going on, so no command
 * of the client can be in the way (libvfio-user issues 279 and 466).
 */
export class DmaClient implements ClientMemory {
  readonly #outstanding = new Map<number, Outstanding>();
  #nextId = 0;
  #gone: VfioError | undefined;

  /**
   * @param send puts a message on the socket
   * @param maxCount the client's max_data_xfer_size: longer accesses become several messages
   * @param timeout milliseconds to wait for each reply
   */
  constructor(
    private readonly send: (message: Uint8Array) => void,
    private readonly maxCount: number,
    private readonly timeout: number,
  ) {}

  /** Whether replies are expected. */
  get waiting(): boolean {
    return this.#outstanding.size > 0;
  }

  /** @throws VfioError EIO …: what the client says; ETIMEDOUT; ENOTCONN; EPROTO for a reply that does not fit */
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
   * @returns false where nobody waits for it (any more)
   */
  take(message: Uint8Array): boolean {
    const header = Header.decode(message);
    const outstanding = this.#outstanding.get(header.msg_id);
    if (!outstanding || header.cmd !== Command[outstanding.command]) return false;
    this.#outstanding.delete(header.msg_id);
    clearTimeout(outstanding.timer);
    const name = `${outstanding.command}: the client`;
    if (header.flags & HeaderFlags.ERROR) {
      outstanding.reject(new VfioError("EIO", `${name} answered ${errnoName(header.error_no)}`));
      return true;
    }
    try {
      const reply = decodeMessage(message.slice());
      outstanding.resolve((reply as { payload?: unknown }).payload);
    } catch (error) {
      outstanding.reject(new VfioError("EPROTO", `${name}'s reply: ${String(error)}`));
    }
    return true;
  }

  /** The client is gone: whoever waits learns it. */
  close(): void {
    this.#gone = new VfioError("ENOTCONN", "DMA by message: the client is gone");
    for (const { timer, reject } of this.#outstanding.values()) {
      clearTimeout(timer);
      reject(this.#gone);
    }
    this.#outstanding.clear();
  }

  #chunk(count: number): number {
    if (this.maxCount === 0)
      throw new VfioError("EOPNOTSUPP", "DMA by message: the client's max_data_xfer_size is 0");
    return Math.min(count, this.maxCount);
  }

  #request<C extends "DMA_READ" | "DMA_WRITE">(
    command: C,
    payload: Parameters<typeof encodeRequest<C>>[2],
  ): Promise<ReplyPayload<C>> {
    return new Promise((resolve, reject) => {
      if (this.#gone) {
        reject(this.#gone);
        return;
      }
      const id = this.#freeId();
      const timer = setTimeout(() => {
        this.#outstanding.delete(id);
        reject(new VfioError("ETIMEDOUT", `${command}: no reply from the client in ${this.timeout} ms`));
      }, this.timeout);
      const settle = resolve as (payload: unknown) => void;
      this.#outstanding.set(id, { command, timer, resolve: settle, reject });
      this.send(encodeRequest(command, id, payload));
    });
  }

  #freeId(): number {
    if (this.#outstanding.size === ID_COUNT)
      throw new VfioError("EBUSY", `${ID_COUNT} DMA messages are waiting for the client`);
    while (this.#outstanding.has(this.#nextId)) this.#nextId = (this.#nextId + 1) % ID_COUNT;
    const id = this.#nextId;
    this.#nextId = (id + 1) % ID_COUNT;
    return id;
  }
}
