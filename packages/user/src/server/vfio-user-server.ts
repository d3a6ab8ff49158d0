import { VfioError, type PciDevice } from "@vfiokit/core";
import type { Task } from "@vfiokit/lockdep";
import { Fd, peerCredentials } from "../linux/index.js";
import { Listener, OneClient } from "../socket/index.js";
import { keptAway } from "../admin/hand-over-text.js";
import { Connection } from "./connection.js";
import { settingsOf, type ConnectionSettings, type ServerOptions } from "./options.js";

/**
 * Serves a device to vfio-user clients, one after the other.
 *
 * While one is connected, others get EBUSY. When it leaves, the device keeps its state for the next. A device that a
 * hand-over keeps stopped takes no new client either.
 */
export class VfioUserServer {
  /** Settles when nothing more will be served: after `close`, or, with `fd`, when that client is gone. */
  readonly ended: Promise<void>;

  readonly #settings: ConnectionSettings;
  #listener: Listener | undefined;
  #connection: Connection | undefined;
  readonly #clients: OneClient;
  #settle!: () => void;

  /** @throws VfioError EINVAL for options that cannot be */
  constructor(
    private readonly device: PciDevice,
    private readonly options: ServerOptions,
  ) {
    this.#settings = settingsOf(options);
    if ((options.socketPath === undefined) === (options.fd === undefined))
      throw new VfioError("EINVAL", "a server needs socketPath or fd, and not both");
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.#clients = new OneClient({
      log: this.#settings.log,
      serve: (fd) => this.#serve(fd),
      unavailable: () => this.#handedOver(),
      onIdle: () => {
        if (!this.#listener) this.#settle();
      },
    });
  }

  /**
   * Starts serving.
   * @throws SyscallError EADDRINUSE: another server listens at the path, or it holds something else; EACCES …;
   *   ENOTSOCK: `fd` is no socket
   */
  // eslint-disable-next-line @typescript-eslint/require-await -- failures are rejections for callers
  async listen(): Promise<void> {
    const { socketPath, fd } = this.options;
    if (fd !== undefined) {
      this.#clients.admit(new Fd(fd));
      return;
    }
    this.#listener = new Listener(socketPath!, this.#settings.log, (one) => this.#clients.admit(one));
  }

  /** Whether a client is connected. */
  get connected(): boolean {
    return this.#connection !== undefined;
  }

  /** Who carries out the commands of the connected client: none while nobody is. */
  get tasks(): readonly Task[] {
    const task = this.#connection?.task;
    return task ? [task] : [];
  }

  /** Stops listening, disconnects the client and removes the socket. The device stays open. */
  async close(): Promise<void> {
    this.#listener?.close();
    this.#clients.close();
    const connection = this.#connection;
    connection?.close();
    await connection?.closed;
    this.#settle();
  }

  /** Why a hand-over keeps new clients away, and what ends that. A device that it keeps in STOP is of no use to them. */
  #handedOver(): string | undefined {
    const status = this.device.handOver?.status();
    return status && keptAway(status, this.options.socketPath ?? "SOCKET");
  }

  #serve(fd: Fd): Connection {
    const { pid, uid } = peerCredentials(fd);
    this.#settings.log("info", `client connected: process ${pid} of user ${uid}`);
    const connection = new Connection(fd, this.device, this.#settings);
    this.#connection = connection;
    void connection.closed.then(() => (this.#connection = undefined));
    return connection;
  }
}
