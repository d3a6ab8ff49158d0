import { PciDevice, type DeviceSet, type IdlePower, type PciDeviceDefinition } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { AdminServer, DeviceAdmin } from "@vfiokit/user/admin";
import { memfdMemory, type DmaAccessMode } from "@vfiokit/user/linux";
import { VfioUserServer } from "@vfiokit/user/server";
import type { Logger } from "../log.js";

/** Where a function is served. */
export interface Endpoint {
  /** Of its vfio-user socket; undefined: one client at `fd`. */
  readonly socket: string | undefined;
  readonly fd: number | undefined;
  /** Of its control socket; undefined: it has none. */
  readonly ctl: string | undefined;
}

/** How a device meets its client, and what becomes of it without one. */
export interface Policy {
  readonly dmaAccess: DmaAccessMode;
  readonly onDisconnect: "keep" | "reset";
  readonly idlePower: IdlePower;
  /** Exceptions of its code after which the device has failed. */
  readonly maxFaults: number;
  readonly strictUnmap?: true;
}

/** A function of a card, at its sockets. */
export class ServedFunction {
  readonly card: PciDevice;
  readonly #server: VfioUserServer;
  readonly #ctl: AdminServer | undefined;

  constructor(
    definition: PciDeviceDefinition,
    set: DeviceSet,
    readonly endpoint: Endpoint,
    policy: Policy,
    log: Logger,
  ) {
    const { socket, fd, ctl } = endpoint;
    const report = (level: "error" | "warn" | "info" | "debug", message: string) =>
      log[level](set.devices.length > 1 ? `${definition.name}: ${message}` : message);
    this.card = new PciDevice(definition, {
      memory: memfdMemory,
      set,
      idlePower: policy.idlePower,
      maxFaults: policy.maxFaults,
      warn: (message) => report("warn", message),
      onFault: (message) => report("error", message),
    });
    this.#server = new VfioUserServer(this.card, {
      ...(socket !== undefined && { socketPath: socket }),
      ...(fd !== undefined && { fd }),
      onDisconnect: policy.onDisconnect,
      dmaAccess: policy.dmaAccess,
      strictUnmap: policy.strictUnmap === true,
      log: report,
    });
    if (ctl === undefined) return;
    this.#ctl = new AdminServer(new DeviceAdmin(this.card, this.#server), { socketPath: ctl, log: report });
  }

  /** @throws SyscallError EADDRINUSE, EACCES … */
  async listen(): Promise<void> {
    await this.#server.listen();
    this.#ctl?.listen();
  }

  /** Settles when nothing more will be served: after `close`, or, with a descriptor, when that client is gone. */
  get ended(): Promise<void> {
    return this.#server.ended;
  }

  async close(): Promise<void> {
    await Promise.all([this.#ctl?.close(), this.#server.close()]);
    await this.card.close(new Task("serve"));
  }
}
