import { Task } from "@vfiokit/lockdep";
import {
  af,
  aer,
  definePciDevice,
  express,
  io,
  memory,
  msi,
  msix,
  msixTable,
  PciDevice,
  pm,
  sections,
  u32,
  type FunctionHost,
  type PciDeviceOptions,
  type PciFunction,
} from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import {
  connectUnix,
  memfdMemory,
  reactor,
  Receiver,
  sendBytes,
  socketPair,
  StableBuffer,
  WOULD_BLOCK,
  type Fd,
  type Watch,
} from "@vfiokit/user/linux";
import {
  decodeMessage,
  encodeRequest,
  Header,
  HEADER_SIZE,
  HeaderFlags,
  type CommandName,
  type ReplyPayload,
  type RequestPayload,
  type VersionData,
} from "@vfiokit/user/wire";
import { VfioUserServer, type LogLevel, type ServerOptions } from "../../src/server/index.js";

export const BAR_REGISTERS = 0;
export const BAR_MEMORY = 2;
export const BAR_MSIX = 4;
export const CONFIG = 7;

export const VALUE = 0x0;
export const INTERRUPT = 0x4;
/** Has an ioeventfd that matches 7, and one that matches anything. */
export const MATCHED = 0x10;
export const ANY = 0x14;
export const BROKEN = 0x20;

/** A device with a little of everything. */
export class TestFunction implements PciFunction {
  value = 0;
  readonly writes: string[] = [];
  /** What a reset has to wait for. */
  resetGate: Promise<void> | undefined;
  resetFails = false;
  resets = 0;

  constructor(readonly host: FunctionHost) {}

  read(_bar: number, offset: number): number {
    if (offset === BROKEN) throw new TypeError("a bug in a device");
    return offset === VALUE ? this.value : 0;
  }

  write(_bar: number, offset: number, value: number, size: number): void {
    this.writes.push(`${offset.toString(16)}=${value.toString(16)}/${size}`);
    if (offset === VALUE) this.value = value;
    if (offset === INTERRUPT) this.host.intx.set(value !== 0);
  }

  reset(): void | Promise<void> {
    if (this.resetFails) throw new Error("the firmware does not answer");
    this.resets++;
    this.value = 0;
    return this.resetGate;
  }

  readonly state = sections({
    value: u32(
      () => this.value,
      (value) => (this.value = value),
    ),
  });
}

export function testDevice(options: PciDeviceOptions & { migratable?: boolean } = {}): {
  device: PciDevice;
  fn: TestFunction;
} {
  let fn!: TestFunction;
  const definition = definePciDevice({
    name: "test",
    id: { vendor: 0x1b36, device: 0x0101, classCode: 0x088000 },
    bars: [
      io({
        size: 0x40,
        slot: BAR_REGISTERS,
        ioEvents: [
          { offset: MATCHED, size: 4, dataMatch: 7 },
          { offset: ANY, size: 0 },
        ],
      }),
      memory({ size: 0x4000, slot: BAR_MEMORY, mappable: [{ offset: 0x1000, size: 0x2000 }] }),
      msixTable({ vectors: 4, slot: BAR_MSIX }),
    ],
    interruptPin: "A",
    capabilities: [
      pm({ noSoftReset: true }),
      express({ flr: true }),
      af(),
      msi({ vectors: 2 }),
      msix({ vectors: 4, bar: BAR_MSIX }),
      aer(),
    ],
    create: (host) => {
      fn = new TestFunction(host);
      if (options.migratable === false) Object.assign(fn, { state: undefined });
      return fn;
    },
  });
  const device = new PciDevice(definition, { memory: memfdMemory, ...options });
  enableBusMaster(device);
  return { device, fn };
}

/** What a driver does before DMA and messages. */
export function enableBusMaster(device: PciDevice): void {
  const command = Uint8Array.of(PciCommand.MASTER, 0);
  void device.writeRegion(new Task("driver"), CONFIG, PciHeader.COMMAND, 2, command, 0);
}

export interface RawReply {
  readonly id: number;
  readonly cmd: number;
  readonly flags: number;
  readonly errno: number;
  readonly bytes: Uint8Array;
  readonly payload: Uint8Array;
  readonly fds: Fd[];
}

/** The client's end of a socket, byte by byte. */
export class RawClient implements Disposable {
  readonly #buffer = new StableBuffer(1 << 16);
  readonly #receiver = new Receiver(this.#buffer);
  readonly #watch: Watch;
  #received = new Uint8Array();
  #fds: Fd[] = [];
  #ended = false;
  #reading = true;
  #wake: () => void = () => undefined;
  #nextId = 1;

  constructor(readonly fd: Fd) {
    this.#watch = reactor.add(fd, { onReadable: () => this.#onReadable() });
  }

  /** Stops and resumes taking what the server sends. */
  setReading(on: boolean): void {
    this.#reading = on;
    this.#watch.setReadable(on);
    if (on) this.#watch.wake();
  }

  /** Sends bytes as they are, waiting for room. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    const buffer = new StableBuffer(bytes.length);
    buffer.bytes.set(bytes);
    let passed = fds;
    for (let at = 0; at < bytes.length;) {
      const count = sendBytes(this.fd, buffer, at, bytes.length - at, passed);
      if (count === WOULD_BLOCK) await new Promise(setImmediate);
      else {
        at += count;
        passed = [];
      }
    }
  }

  /** The next message from the server. Rejects at the end of the stream. */
  async next(): Promise<RawReply> {
    const reply = await this.nextOrEnd();
    if (!reply) throw new Error("the server closed the connection");
    return reply;
  }

  /** The next message, or undefined when the server has closed. */
  async nextOrEnd(): Promise<RawReply | undefined> {
    for (;;) {
      const size = this.#received.length >= HEADER_SIZE ? Header.decode(this.#received).msg_size : Infinity;
      if (this.#received.length >= size) {
        const bytes = this.#received.slice(0, size);
        this.#received = this.#received.slice(size);
        const { msg_id, cmd, flags, error_no } = Header.decode(bytes);
        const fds = this.#fds.splice(0);
        return { id: msg_id, cmd, flags, errno: error_no, bytes, payload: bytes.subarray(HEADER_SIZE), fds };
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** A command and its reply; an error reply is an error. */
  async call<C extends CommandName>(
    command: C,
    payload: RequestPayload<C>,
    fds: readonly number[] = [],
  ): Promise<{ payload: ReplyPayload<C>; fds: Fd[] }> {
    const reply = await this.exchange(encodeRequest(command, this.#nextId++, payload), fds);
    if (reply.flags & HeaderFlags.ERROR) throw new Error(`${command} failed with errno ${reply.errno}`);
    const message = decodeMessage(reply.bytes) as unknown as { payload: ReplyPayload<C> };
    return { payload: message.payload, fds: reply.fds };
  }

  async exchange(bytes: Uint8Array, fds: readonly number[] = []): Promise<RawReply> {
    await this.send(bytes, fds);
    return this.next();
  }

  async negotiate(
    capabilities: VersionData["capabilities"] = { max_msg_fds: 8, write_multiple: true },
  ): Promise<{
    payload: ReplyPayload<"VERSION">;
    fds: Fd[];
  }> {
    return this.call("VERSION", { major: 0, minor: 1, data: { capabilities } });
  }

  async read(region: number, offset: number, count: number): Promise<number> {
    const { payload } = await this.call("REGION_READ", { region, offset: BigInt(offset), count });
    return payload.data.reduce((value, byte, i) => value + byte * 256 ** i, 0);
  }

  async write(region: number, offset: number, value: number, count = 4): Promise<void> {
    const data = Uint8Array.from({ length: count }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
    await this.call("REGION_WRITE", { region, offset: BigInt(offset), count, data });
  }

  close(): void {
    if (this.fd.closed) return;
    this.#watch.remove();
    this.#receiver.close();
    for (const fd of this.#fds.splice(0)) fd.close();
    this.fd.close();
    this.#ended = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #onReadable(): boolean {
    if (!this.#reading) return false;
    let count: number;
    try {
      count = this.#receiver.receive(this.fd, 0, this.#buffer.bytes.length);
    } catch {
      count = 0; // ECONNRESET: the server closed with something unread
    }
    if (count === WOULD_BLOCK) return false;
    if (count === 0) {
      this.#ended = true;
      this.#watch.remove();
    } else {
      const joined = new Uint8Array(this.#received.length + count);
      joined.set(this.#received);
      joined.set(this.#buffer.bytes.subarray(0, count), this.#received.length);
      this.#received = joined;
      this.#fds.push(...this.#receiver.takeFds().fds);
    }
    // What was waited for runs in a microtask.
    reactor.yield();
    this.#wake();
    return true;
  }
}

/** A server for one connection, and the raw other end of it. */
export class Fixture {
  readonly device: PciDevice;
  readonly fn: TestFunction;
  readonly server: VfioUserServer;
  readonly client: RawClient;
  readonly log: string[] = [];

  private constructor(options: Omit<ServerOptions, "fd" | "socketPath">, migratable: boolean) {
    const { device, fn } = testDevice({ migratable });
    this.device = device;
    this.fn = fn;
    const [ours, theirs] = socketPair();
    // The server takes over a number, as from a parent process.
    using own = theirs;
    const fd = own.duplicate();
    this.server = new VfioUserServer(device, {
      ...options,
      fd: fd.release(),
      log: (level: LogLevel, message) => this.log.push(`${level}: ${message}`),
    });
    this.client = new RawClient(ours);
  }

  /** Connected, and with `negotiated` (default) past VERSION. */
  static async open(
    options: Omit<ServerOptions, "fd" | "socketPath"> & { negotiated?: boolean; migratable?: boolean } = {},
  ): Promise<Fixture> {
    const { negotiated = true, migratable = true, ...rest } = options;
    const fixture = new Fixture(rest, migratable);
    await fixture.server.listen();
    if (negotiated) await fixture.client.negotiate();
    return fixture;
  }

  async close(): Promise<void> {
    this.client.close();
    await this.server.close();
    await this.device.close(new Task("test"));
  }
}

export function connectRaw(path: string): RawClient {
  return new RawClient(connectUnix(path));
}
