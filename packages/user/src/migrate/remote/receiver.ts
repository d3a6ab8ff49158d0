import { once } from "node:events";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import { VfioError } from "@vfiokit/core";
import { asVfioError } from "../../socket/errors.js";
import { Admission } from "./admission.js";
import { hostAndPort, isDeviceName, loopbackAddress, MAX_NAME } from "./address.js";
import { zstd, type Codec } from "./compression.js";
import type { ReceiverDevice } from "./device.js";
import type { ReceiverEvent } from "./events.js";
import { FrameSocket } from "./frame-socket.js";
import { failure, MAGIC, VERSION, type FrameValue } from "./protocol.js";
import { checkIdentity, MIN_TLS, refuseClient, type RemoteSecurity } from "./security.js";
import { Slot } from "./slot.js";
import { defaultTiming, type Timing } from "./timing.js";

/** Where a receiver listens, whom it trusts, and which devices it fills. */
export interface ReceiverOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly security: RemoteSecurity;
  /** Names of which a migration client's certificate must have one, as its subject's CN or a DNS name. Default: any of the CA's. */
  readonly allow?: readonly string[] | undefined;
  /** The devices, by the name that a migration client calls them; each is opened when a migration client comes for it. */
  readonly devices: ReadonlyMap<string, ReceiverDevice>;
  /** How long a broken connection may be continued. Milliseconds, default 30,000. */
  readonly resumeWindow_ms?: number | undefined;
  /** Bytes that a migration client may send ahead. Default 4 MiB. */
  readonly window?: number | undefined;
  /** At a time, of all devices. Beyond it, who has said nothing makes way for the newest. Default 64. */
  readonly maxConnections?: number | undefined;
  readonly onEvent?: ((event: ReceiverEvent) => void) | undefined;
  readonly timing?: Partial<Timing> | undefined;
  /** Instead of Node's own. */
  readonly codec?: Codec | undefined;
}

const DEFAULT_WINDOW = 4 * 1024 * 1024;
const MAX_RESUME_WINDOW_MS = 24 * 60 * 60 * 1000;

/** Takes devices from other hosts: one port, many devices (docs/migration-remote.md). */
export class Receiver {
  readonly #slots: ReadonlyMap<string, Slot>;
  readonly #timing: Timing;
  readonly #admission: Admission;
  readonly #served = new Set<Promise<void>>();
  #server: Server | undefined;

  /** @throws VfioError EINVAL: no device, a name, a time; what `checkIdentity` throws */
  constructor(private readonly options: ReceiverOptions) {
    if (options.security.kind === "tls") checkIdentity(options.security);
    this.#timing = { ...defaultTiming, ...options.timing };
    this.#admission = new Admission(options.maxConnections ?? 64, (socket, why) => {
      const message = `${peerOf(socket)}: a connection was turned away: ${why}`;
      this.#report({ event: "refused", level: "warn", peer: peerOf(socket), message });
    });
    const resumeWindow_ms = options.resumeWindow_ms ?? 30_000;
    if (!(resumeWindow_ms >= 0 && resumeWindow_ms <= MAX_RESUME_WINDOW_MS))
      throw new VfioError("EINVAL", `resume window ${resumeWindow_ms} ms: 0 to ${MAX_RESUME_WINDOW_MS}`);
    if (options.devices.size === 0) throw new VfioError("EINVAL", "no devices: at least one");
    const settings = {
      window: options.window ?? DEFAULT_WINDOW,
      resumeWindow_ms,
      idle_ms: this.#timing.idle_ms,
    };
    this.#slots = new Map(
      [...options.devices].map(([name, device]) => {
        if (!isDeviceName(name)) {
          const rule = `1 to ${MAX_NAME} letters, digits and _.-`;
          throw new VfioError("EINVAL", `device name ${JSON.stringify(name)}: ${rule}`);
        }
        const report = (event: Omit<ReceiverEvent, "device">) => this.#report({ ...event, device: name });
        return [name, new Slot(name, device, options.codec ?? zstd, { ...settings, report })];
      }),
    );
  }

  /** @returns where it listens. @throws VfioError EACCES: no loopback address; an error of the system: EADDRINUSE … */
  async listen(): Promise<{ readonly host: string; readonly port: number }> {
    const { security, port } = this.options;
    const server = security.kind === "tls" ? this.#tlsServer(security) : createTcpServer({ noDelay: true });
    server.on("connection", (socket: Socket) => this.#admission.enter(socket));
    server.on(security.kind === "tls" ? "secureConnection" : "connection", (socket: Socket) =>
      this.#accept(socket),
    );
    this.#server = server;
    const host = security.kind === "tls" ? this.options.host : await loopbackAddress(this.options.host);
    await new Promise<void>((resolve, reject) => server.on("error", reject).listen({ host, port }, resolve));
    const { address, port: bound } = server.address() as AddressInfo;
    const where = { host: address, port: bound };
    const url = `tls://${hostAndPort(where)}`;
    const devices = [...this.#slots.keys()].join(", ");
    this.#report({ event: "listening", level: "info", url, message: `listening at ${url} for ${devices}` });
    return where;
  }

  /** Ends every migration: what is being loaded is discarded, what is prepared stays so. */
  async close(): Promise<void> {
    this.#server?.close();
    const last = new VfioError("ECONNRESET", "the receiver was ended");
    await Promise.all([...this.#slots.values()].map((slot) => slot.close(last)));
    // Those that were told so close by themselves, within a moment; nobody else has to be told anything.
    const told = [...this.#admission.connected].filter((socket) => socket.writableEnded && !socket.destroyed);
    const closed = told.map((socket) => once(socket, "close"));
    for (const socket of this.#admission.connected) if (!told.includes(socket)) socket.destroy();
    await Promise.all([...closed, ...this.#served]);
  }

  #tlsServer({ cert, key, ca }: Extract<RemoteSecurity, { kind: "tls" }>): Server {
    const server = createTlsServer({
      cert,
      key,
      ca,
      minVersion: MIN_TLS,
      requestCert: true,
      // Whoever is not authorized gets no further than HELLO, and a reason, which a broken connection would not give.
      rejectUnauthorized: false,
      handshakeTimeout: this.#timing.hello_ms,
      noDelay: true,
    });
    server.on("tlsClientError", (error, socket) => {
      const message = `${peerOf(socket)}: no TLS connection: ${error.message.trim()}`;
      this.#report({ event: "refused", level: "warn", peer: peerOf(socket), message });
      // A handshake that took too long leaves the connection open otherwise.
      socket.destroy();
    });
    return server;
  }

  #accept(socket: Socket): void {
    const peer = peerOf(socket);
    const served = this.#serve(socket, peer)
      .catch((error: unknown) => {
        const bug = error instanceof Error ? error.stack! : String(error);
        this.#report({ event: "refused", level: "error", peer, message: `a bug: ${bug}` });
        socket.destroy();
      })
      .finally(() => this.#served.delete(served));
    this.#served.add(served);
  }

  async #serve(socket: Socket, peer: string): Promise<void> {
    const frames = new FrameSocket(socket, "client");
    const alive = setInterval(() => {
      if (frames.hasRoom) frames.send("RECEIVER_ALIVE", {});
    }, this.#timing.alive_ms);
    try {
      const hello = await this.#hello(frames);
      if (!hello) {
        frames.destroy();
        return;
      }
      const refusal = socket instanceof TLSSocket ? refuseClient(socket, this.options.allow) : undefined;
      if (refusal !== undefined) throw new VfioError("EACCES", refusal);
      if (hello.version < 1)
        throw new VfioError("EPROTO", `version ${hello.version}: this side speaks ${VERSION}`);
      this.#admission.accepted(socket);
      await this.#slot(hello.device).serve(frames, hello, peer);
    } catch (error) {
      const why = asVfioError(error);
      this.#report({ event: "refused", level: "warn", peer, message: `${peer} was refused: ${why.message}` });
      frames.send("REFUSED", failure(why));
      frames.end();
    } finally {
      clearInterval(alive);
    }
  }

  /** The first frame, which has to come soon, and whole. */
  async #hello(frames: FrameSocket): Promise<FrameValue<"HELLO"> | undefined> {
    const limit = setTimeout(() => frames.destroy(), this.#timing.hello_ms);
    try {
      const frame = await frames.read(this.#timing.hello_ms);
      if (!frame) return undefined;
      if (frame.frame !== "HELLO" || Buffer.compare(frame.value.magic, MAGIC) !== 0)
        throw new VfioError("EPROTO", "HELLO comes first");
      return frame.value;
    } finally {
      clearTimeout(limit);
    }
  }

  #slot(name: string): Slot {
    const [only] = this.#slots.values();
    const slot = name === "" && this.#slots.size === 1 ? only : this.#slots.get(name);
    if (slot) return slot;
    const names = [...this.#slots.keys()].join(", ");
    throw new VfioError(
      "ENOENT",
      name === "" ? `name a device, of ${names}` : `no device ${name}: there is ${names}`,
    );
  }

  #report(event: ReceiverEvent): void {
    this.options.onEvent?.(event);
  }
}

/** "192.0.2.1:4711 (CN=client)" */
function peerOf(socket: Socket): string {
  const { remoteAddress = "somebody", remotePort = 0 } = socket;
  const where = hostAndPort({ host: remoteAddress, port: remotePort });
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  return certificate ? `${where} (${certificate.subject.split("\n").join(", ")})` : where;
}
