import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { VfioError } from "@vfiokit/core";
import {
  connectRemoteTarget,
  Receiver,
  type EndpointDescription,
  type MigrationTarget,
  type ReceiverDevice,
  type ReceiverEvent,
  type ReceiverOptions,
  type RemoteTargetOptions,
} from "@vfiokit/user";

export const insecure = { kind: "insecure-loopback" } as const;
export const ID = "00112233445566778899aabbccddeeff";

/** A device that remembers what was done to it. */
export class FakeTarget implements MigrationTarget {
  readonly calls: string[] = [];
  /** Of the image that is being loaded, or was. */
  #image: Uint8Array[] = [];
  /** What comes before each `write`. */
  onWrite: (bytes: Uint8Array) => Promise<void> = () => Promise.resolve();
  /** What the next call of a method throws. */
  readonly errors = new Map<keyof MigrationTarget, Error>();
  description: EndpointDescription = {
    name: "/a/path",
    identity: {
      vendor: 0x1b36,
      device: 2,
      subsystemVendor: 0x1af4,
      subsystemDevice: 0x1100,
      classCode: 0x070002,
      revision: 0xfe,
    },
    flags: 5,
    state: "RUNNING",
    generation: 7,
    handOver: true,
  };
  #changed: () => void = () => undefined;

  /** Settles once the calls look like that. */
  async until(ready: (calls: readonly string[]) => boolean): Promise<void> {
    while (!ready(this.calls)) await new Promise<void>((resolve) => (this.#changed = resolve));
  }

  get image(): Buffer {
    return Buffer.concat(this.#image);
  }

  /** Whether the image is that, and nothing else. */
  has(bytes: Uint8Array): boolean {
    return this.image.equals(bytes);
  }

  describe(): Promise<EndpointDescription> {
    return this.#called("describe").then(() => this.description);
  }

  begin(): Promise<void> {
    this.#image = [];
    return this.#called("begin");
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.onWrite(bytes);
    await this.#called("write");
    this.#image.push(bytes.slice());
  }

  prepare(id: string): Promise<void> {
    return this.#called("prepare", id);
  }

  activate(id: string): Promise<void> {
    return this.#called("activate", id);
  }

  discard(id: string): Promise<void> {
    return this.#called("discard", id === ID ? id : "");
  }

  close(): void {
    void this.#called("close");
  }

  /** The calls, without those that a test does not ask about. */
  get steps(): string[] {
    return this.calls.filter((call) => call !== "write" && call !== "describe");
  }

  #called(name: keyof MigrationTarget, id?: string): Promise<void> {
    this.calls.push(id === undefined ? name : `${name} ${id}`.trim());
    this.#changed();
    const error = this.errors.get(name);
    this.errors.delete(name);
    return error ? Promise.reject(error) : Promise.resolve();
  }
}

/** A device that is always there, and takes no part in hand-overs. */
export function deviceOf(target: MigrationTarget): ReceiverDevice {
  return {
    open: () => Promise.resolve(target),
    handOver: () => Promise.reject(new VfioError("ENOTTY", "it takes no part in hand-overs")),
  };
}

/** A receiver with devices of this process, and what it has told. */
export class Receiving implements AsyncDisposable {
  readonly events: ReceiverEvent[] = [];
  port = 0;
  readonly #receiver: Receiver;
  #changed: () => void = () => undefined;

  private constructor(options: Partial<ReceiverOptions> & Pick<ReceiverOptions, "devices">) {
    this.#receiver = new Receiver({
      host: "127.0.0.1",
      port: 0,
      security: insecure,
      ...options,
      onEvent: (event) => {
        this.events.push(event);
        this.#changed();
      },
    });
  }

  static async start(
    devices: Readonly<Record<string, MigrationTarget | ReceiverDevice>>,
    options: Partial<ReceiverOptions> = {},
  ): Promise<Receiving> {
    const opened = Object.entries(devices).map(
      ([name, device]) => [name, "open" in device ? device : deviceOf(device)] as const,
    );
    const receiving = new Receiving({ ...options, devices: new Map(opened) });
    ({ port: receiving.port } = await receiving.#receiver.listen());
    return receiving;
  }

  url(device = "", port = this.port): string {
    return `tls://127.0.0.1:${port}${device === "" ? "" : `/${device}`}`;
  }

  connect(options: Partial<RemoteTargetOptions> = {}, url = this.url()): Promise<MigrationTarget> {
    return connectRemoteTarget(url, { security: insecure, ...options });
  }

  /** Settles once there was such an event; those before it count as well. */
  async told(event: ReceiverEvent["event"], count = 1, device?: string): Promise<ReceiverEvent> {
    for (;;) {
      const found = this.events.filter(
        (one) => one.event === event && (device === undefined || one.device === device),
      );
      if (found.length >= count) return found[count - 1]!;
      await new Promise<void>((resolve) => (this.#changed = resolve));
    }
  }

  close(): Promise<void> {
    return this.#receiver.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** What lies between a migration client and a receiver, and can break. */
export class Wire implements AsyncDisposable {
  /** Bytes that went to the receiver, and to the migration client, over all connections. */
  up = 0;
  down = 0;
  connections = 0;
  /** Cuts the connection once so many bytes went that way: the first that is passed is taken away. */
  readonly cutsUp: number[] = [];
  readonly cutsDown: number[] = [];
  /** Turns new connections away. */
  refuses = false;
  port = 0;
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();

  private constructor(to: number) {
    this.#server = createServer((migrationClient) => {
      if (this.refuses) {
        migrationClient.destroy();
        return;
      }
      this.connections++;
      const receiver = connect(to, "127.0.0.1");
      const pair = [migrationClient, receiver] as const;
      this.#pairs.add(pair);
      const cut = () => {
        migrationClient.destroy();
        receiver.destroy();
        this.#pairs.delete(pair);
      };
      for (const socket of pair) socket.on("error", cut).on("close", cut);
      pass(migrationClient, receiver, (count) => this.#pass(count, "up", this.cutsUp), cut);
      pass(receiver, migrationClient, (count) => this.#pass(count, "down", this.cutsDown), cut);
    });
  }

  static async to(port: number): Promise<Wire> {
    const wire = new Wire(port);
    wire.#server.listen(0, "127.0.0.1");
    await once(wire.#server, "listening");
    wire.port = (wire.#server.address() as AddressInfo).port;
    return wire;
  }

  /** Breaks every connection now. */
  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** How many of `count` bytes go through before the connection is cut. */
  #pass(count: number, way: "up" | "down", cuts: number[]): number {
    const cut = cuts[0];
    if (cut === undefined || this[way] + count < cut) {
      this[way] += count;
      return count;
    }
    cuts.shift();
    const through = Math.max(0, cut - this[way]);
    this[way] += through;
    return through;
  }
}

function pass(from: Socket, to: Socket, allowed: (count: number) => number, cut: () => void): void {
  from.on("data", (bytes) => {
    if (to.destroyed) return;
    const through = allowed(bytes.length);
    if (through === bytes.length) {
      if (!to.write(bytes)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
      return;
    }
    // What did get through has to arrive: the connection ends behind it, and not before.
    from.pause();
    to.end(bytes.subarray(0, through), () => cut());
  });
}

/** Bytes of which no two parts are alike. */
export function pattern(count: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(count);
  let state = seed;
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
