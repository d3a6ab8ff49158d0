import { VfioError, type PciDevice } from "@vfiokit/core";
import type { Task } from "@vfiokit/lockdep";
import { Fd, peerCredentials } from "../linux/index.js";
import { Listener } from "../socket/index.js";
import { keptAway } from "../admin/hand-over-text.js";
import { Connection } from "./connection.js";
import { settingsOf, type ConnectionSettings, type ServerOptions } from "./options.js";

/**
 * Serves a device to vfio-user clients, one after the other.
 *
 * While one is connected, others are turned away: their connection is closed at once, so that they fail with a
 * message instead of hanging. When it leaves, the device keeps its state for the next. A device that a hand-over keeps
 * stopped takes no new client either.
 */
export class VfioUserServer {
  /** Settles when nothing more will be served: after `close`, or, with `fd`, when that client is gone. */
  readonly ended: Promise<void>;

  readonly #settings: ConnectionSettings;
  #listener: Listener | undefined;
  #connection: Connection | undefined;
  /** Connected while the connection before it was still being released. */
  #next: Fd | undefined;
  #closing = false;
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
      this.#serve(new Fd(fd));
      return;
    }
    this.#listener = new Listener(socketPath!, this.#settings.log, (one) => this.#admit(one));
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
    this.#closing = true;
    this.#listener?.close();
    this.#next?.close();
    const connection = this.#connection;
    connection?.close();
    await connection?.closed;
    this.#settle();
  }

  #admit(fd: Fd): void {
    const handedOver = this.#handedOver();
    if (handedOver !== undefined) {
      this.#turnAway(fd, handedOver);
    } else if (!this.#connection) {
      this.#serve(fd);
    } else if (!this.#next && this.#connection.isOver()) {
      this.#next = fd;
    } else {
      this.#turnAway(fd, "another client is connected");
    }
  }

  #turnAway(fd: Fd, why: string): void {
    const { pid } = peerCredentials(fd);
    this.#settings.log("warn", `process ${pid} was turned away: ${why}`);
    fd.close();
  }

  /** Why a hand-over keeps new clients away, and what ends that. A device that it keeps in STOP is of no use to them. */
  #handedOver(): string | undefined {
    const status = this.device.handOver?.status();
    return status && keptAway(status, this.options.socketPath ?? "SOCKET");
  }

  #serve(fd: Fd): void {
    let connection: Connection;
    try {
      const { pid, uid } = peerCredentials(fd);
      this.#settings.log("info", `client connected: process ${pid} of user ${uid}`);
      connection = new Connection(fd, this.device, this.#settings);
    } catch (error) {
      fd.close();
      throw error;
    }
    this.#connection = connection;
    void connection.closed.then(() => this.#onClosed());
  }

  #onClosed(): void {
    this.#connection = undefined;
    if (this.#closing) return;
    const next = this.#next;
    this.#next = undefined;
    if (next) this.#admit(next);
    else if (!this.#listener) this.#settle();
  }
}
