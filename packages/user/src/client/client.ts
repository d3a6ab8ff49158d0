import { EventEmitter } from "node:events";
import { VfioError } from "@vfiokit/core";
import type { DeviceInfo, IrqInfo } from "@vfiokit/core/host";
import type { Fd } from "../linux/index.js";
import {
  capabilityDefaults,
  DeviceInfo as WireDeviceInfo,
  DmaUnmap,
  DmaUnmapFlags,
  IrqInfo as WireIrqInfo,
  IrqSet,
  type CommandName,
  type ReplyPayload,
  type RequestPayload,
} from "../wire/index.js";
import { type CallOptions, protocolError } from "../socket/index.js";
import type { RequestOptions } from "./connection.js";
import { dmaMapping, DmaMaps, SharedDmaMemory, type DmaMapOptions } from "./dma.js";
import { ClientIrq, type IrqCommands } from "./irq.js";
import { Link } from "./link.js";
import { ClientMigration } from "./migration.js";
import type { Limits, Proposal } from "./negotiate.js";
import { MappedRegion, queryIoFds, queryRegion, type RegionDescription, type RegionIoFds } from "./region.js";
import type { ClientEvents, ClientOptions } from "./options.js";
import { restore, sendMap } from "./restore.js";
import { inPieces, multiWrite, type RegionWrite } from "./transfer.js";

/** Against servers that would have their clients allocate without end. */
const MAX_REGIONS = 256;
const MAX_IRQS = 256;
/** PCI 3.0 §6.8.2.3: an MSI-X table has at most 2048 entries. */
const MAX_VECTORS = 2048;
const TIMEOUT_MS = 30_000;

/**
 * A vfio-user client. Commands may be given without waiting for earlier ones: the server carries them out in order.
 *
 * Every command rejects with a VfioError: ReplyError with the server's errno; EPROTO where the server broke the
 * protocol; ETIMEDOUT; ECANCELED, by an AbortSignal or `close`; ECONNRESET where the server went away; ENOTCONN
 * afterwards.
 */
export class VfioUserClient extends EventEmitter<ClientEvents> implements Disposable {
  readonly migration: ClientMigration;
  readonly #maps = new DmaMaps();
  readonly #irqs = new Map<number, ClientIrq>();
  readonly #resources = new Set<Disposable>();
  readonly #timeoutMs: number;
  #link!: Link;
  #limits!: Limits;

  private constructor(options: ClientOptions) {
    super();
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.migration = new ClientMigration({
      command: (command, payload, call) => this.command(command, payload, call),
      maxTransfer: () => this.#limits.maxDataXferSize,
    });
  }

  /**
   * Connects to the server that listens at a path, or that is at the other end of a socket, which is taken.
   * @throws SyscallError from connect: ENOENT, ECONNREFUSED, EACCES …
   * @throws VfioError from the negotiation
   */
  static async connect(server: string | Fd, options: ClientOptions = {}): Promise<VfioUserClient> {
    const client = new VfioUserClient(options);
    const { reconnect = false, signal } = options;
    const proposal: Proposal = {
      maxMsgFds: options.maxMsgFds ?? 64,
      maxDataXferSize: options.maxDataXferSize ?? capabilityDefaults.max_data_xfer_size,
      twinSocket: options.twinSocket ?? true,
    };
    const backOff = reconnect === true ? {} : reconnect || undefined;
    const settings = { proposal, maps: client.#maps, timeoutMs: client.#timeoutMs, reconnect: backOff };
    client.#link = await Link.open(
      server,
      settings,
      {
        // Listeners run on their own: what they throw is theirs alone.
        onDisconnected: (reason) => queueMicrotask(() => client.emit("disconnected", reason)),
        onReconnectFailed: (error) => queueMicrotask(() => client.emit("reconnectFailed", error)),
        onReconnected: () => queueMicrotask(() => client.emit("reconnected")),
        restore: async (connection) => {
          await restore(connection, client.#maps, client.#irqs.values(), { timeoutMs: client.#timeoutMs });
          client.#limits = connection.limits;
        },
      },
      { signal },
    );
    client.#limits = client.#link.connection!.limits;
    return client;
  }

  /** What was negotiated; the last server's while there is none. */
  get limits(): Limits {
    return this.#limits;
  }

  get connected(): boolean {
    return this.#link.connection !== undefined;
  }

  /** Commands without reply so far. */
  get outstanding(): number {
    return this.#link.connection?.outstanding ?? 0;
  }

  /** Any command. The reply's byte arrays are the caller's; descriptors that come with it are closed. */
  command<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    options: RequestOptions = {},
  ): Promise<ReplyPayload<C>> {
    const call = this.#call(options);
    return this.#link.with(call, (connection) => connection.call(command, payload, call));
  }

  async getInfo(options: CallOptions = {}): Promise<DeviceInfo> {
    const request = { argsz: WireDeviceInfo.size, flags: 0, num_regions: 0, num_irqs: 0 };
    const { flags, num_regions, num_irqs } = await this.command("DEVICE_GET_INFO", request, options);
    if (num_regions > MAX_REGIONS)
      throw protocolError(`num_regions is ${num_regions}: at most ${MAX_REGIONS}`);
    if (num_irqs > MAX_IRQS) throw protocolError(`num_irqs is ${num_irqs}: at most ${MAX_IRQS}`);
    return { flags, numRegions: num_regions, numIrqs: num_irqs };
  }

  async getRegionInfo(index: number, options: CallOptions = {}): Promise<RegionDescription> {
    const { description, fd } = await this.#queryRegion(index, options);
    fd?.close();
    return description;
  }

  /**
   * Maps what can be mapped of a region; the caller's to dispose of, at the latest done by `close`.
   * @throws VfioError EOPNOTSUPP where there is nothing to map
   */
  async mapRegion(index: number, options: CallOptions = {}): Promise<MappedRegion> {
    const { description, fd } = await this.#queryRegion(index, options);
    try {
      if (!fd || description.mmapAreas.length === 0) {
        throw new VfioError("EOPNOTSUPP", `region ${index}: the server does not let it be mapped`);
      }
      return this.#keep((forget) => new MappedRegion(description, fd, forget));
    } finally {
      fd?.close();
    }
  }

  /** Reads from a region, in as many messages as its length needs. @returns bytes read; fewer where the server stopped */
  regionRead(region: number, offset: number, into: Uint8Array, options: CallOptions = {}): Promise<number> {
    const call = this.#call(options);
    return this.#link.with(call, (connection) =>
      inPieces(into, this.#limits.maxDataXferSize, (piece, at) =>
        connection.readRegion(region, offset + at, piece, call),
      ),
    );
  }

  /** Writes to a region, in as many messages as its length needs. @returns bytes written */
  regionWrite(region: number, offset: number, from: Uint8Array, options: CallOptions = {}): Promise<number> {
    const call = this.#call(options);
    return this.#link.with(call, (connection) =>
      inPieces(from, this.#limits.maxDataXferSize, (piece, at) =>
        connection.writeRegion(region, offset + at, piece, call),
      ),
    );
  }

  /**
   * Writes to a region without a reply (No_reply): at most one transfer's bytes, and nobody says whether it worked.
   * Fulfilled once the kernel has the message.
   */
  regionPost(region: number, offset: number, data: Uint8Array, options: CallOptions = {}): Promise<void> {
    const request = { offset: BigInt(offset), region, count: data.length, data };
    return this.#link.with(this.#call(options), (connection) =>
      connection.post("REGION_WRITE", request, options),
    );
  }

  /** Several writes in one message. @returns how many were done @throws VfioError EOPNOTSUPP without write_multiple */
  async regionWriteMulti(writes: readonly RegionWrite[], options: CallOptions = {}): Promise<number> {
    if (!this.#limits.writeMultiple) throw new VfioError("EOPNOTSUPP", "the server has no write_multiple");
    const request = multiWrite(writes);
    const { wr_cnt } = await this.command("REGION_WRITE_MULTI", request, options);
    if (wr_cnt > request.wr_cnt) throw protocolError(`wr_cnt is ${wr_cnt}: ${request.wr_cnt} were sent`);
    return Number(wr_cnt);
  }

  /** Descriptors that stand for writes to a region (ioeventfds). They are the caller's to close. */
  getRegionIoFds(index: number, options: CallOptions = {}): Promise<RegionIoFds> {
    const call = this.#call(options);
    return this.#link.with(call, (connection) => queryIoFds(connection, index, call));
  }

  async getIrqInfo(index: number, options: CallOptions = {}): Promise<IrqInfo> {
    const request = { argsz: WireIrqInfo.size, flags: 0, index, count: 0 };
    const { flags, count } = await this.command("DEVICE_GET_IRQ_INFO", request, options);
    if (count > MAX_VECTORS) throw protocolError(`irq ${index} has ${count} vectors: at most ${MAX_VECTORS}`);
    return { index, flags, count };
  }

  /** The interrupts of an index (IrqIndex), always the same object. */
  irq(index: number): ClientIrq {
    let irq = this.#irqs.get(index);
    if (!irq) {
      const commands: IrqCommands = {
        setIrqs: (request, fds, options) => this.setIrqs(request, { ...options, fds }),
        maxFds: () => this.#limits.maxMsgFds,
      };
      this.#irqs.set(index, (irq = new ClientIrq(index, commands)));
    }
    return irq;
  }

  /** DEVICE_SET_IRQS as it is; `irq` keeps the eventfds and is restored when the client reconnects. */
  async setIrqs(request: Omit<IrqSetRequest, "argsz">, options: RequestOptions = {}): Promise<void> {
    await this.command("DEVICE_SET_IRQS", { argsz: IrqSet.size + request.data.length, ...request }, options);
  }

  /** Memory that the server can map, of `size` zero bytes; disposed of by `close` at the latest. */
  shareMemory(size: number): SharedDmaMemory {
    return this.#keep((forget) => new SharedDmaMemory(size, forget));
  }

  /**
   * Lets the device access memory of the client. The memory must stay until it is unmapped.
   * @throws VfioError EEXIST for a map that overlaps another
   */
  async dmaMap(options: DmaMapOptions, call: CallOptions = {}): Promise<void> {
    const map = dmaMapping(options);
    const settings = this.#call(call);
    await this.#link.with(settings, async (connection) => {
      // Before the server knows, as its first access may come before its reply: over the twin socket.
      this.#maps.add(map);
      try {
        await sendMap(connection, map, settings);
      } catch (error) {
        this.#maps.remove(map);
        throw error;
      }
    });
  }

  /** Takes back exactly one map. */
  async dmaUnmap(address: bigint, size: number | bigint, options: CallOptions = {}): Promise<void> {
    const request = { argsz: DmaUnmap.size, flags: 0, address, size: BigInt(size) };
    await this.command("DMA_UNMAP", request, options);
    const map = this.#maps.find(address, BigInt(size));
    if (map) this.#maps.remove(map);
  }

  async dmaUnmapAll(options: CallOptions = {}): Promise<void> {
    const maps = [...this.#maps.all];
    await this.command(
      "DMA_UNMAP",
      { argsz: DmaUnmap.size, flags: DmaUnmapFlags.ALL, address: 0n, size: 0n },
      options,
    );
    for (const map of maps) this.#maps.remove(map);
  }

  /** VFIO_USER_DEVICE_RESET: the device is at its power-on state and RUNNING afterwards. */
  async reset(options: CallOptions = {}): Promise<void> {
    await this.command("DEVICE_RESET", {}, options);
  }

  /** Ends the connection and releases everything: eventfds, mapped regions, shared memory. Twice does nothing more. */
  close(): void {
    this.#link.close(new VfioError("ECANCELED", "the client was closed"));
    for (const irq of this.#irqs.values()) irq.release();
    for (const resource of [...this.#resources]) resource[Symbol.dispose]();
    this.#maps.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #queryRegion(index: number, options: CallOptions): ReturnType<typeof queryRegion> {
    const call = this.#call(options);
    return this.#link.with(call, (connection) => queryRegion(connection, index, call));
  }

  #call<T extends CallOptions>(options: T): T {
    return options.timeoutMs === undefined ? { ...options, timeoutMs: this.#timeoutMs } : options;
  }

  /** What `close` disposes of, unless its owner has by then. */
  #keep<T extends Disposable>(make: (forget: () => void) => T): T {
    const resource: T = make(() => this.#resources.delete(resource));
    this.#resources.add(resource);
    return resource;
  }
}

type IrqSetRequest = RequestPayload<"DEVICE_SET_IRQS">;
