import { RegionIndex, VfioError } from "@vfiokit/core";
import { PciHeader } from "@vfiokit/core/pci";
import type { DeviceIdentity, MigrationStateName } from "@vfiokit/core/migration";
import { keptAway, type HandOverReport } from "../admin/index.js";
import { ReplyError, VfioUserClient } from "../client/index.js";
import { isKernelAddress, openKernelDevice } from "../kernel/index.js";
import { Feature } from "../wire/index.js";
import type { EndpointDescription } from "./endpoint.js";
import { HandOverControl, type HandOverAction } from "./hand-over-control.js";

/** Bytes of the configuration space's header (PCI 3.0 §6.1). */
const CONFIG_HEADER = 0x40;

/** What an end on this host needs to know. */
export interface LocalEndOptions {
  /** Path of the control socket. Default: the socket's and ".ctl", if there is one. */
  readonly controlPath?: string;
  /** Milliseconds that each command may take. Default 30000. */
  readonly timeoutMs?: number;
}

/** The part of a client that a migration needs. */
export type MigratingClient = Pick<VfioUserClient, "migration" | "regionRead" | "reset" | "close">;

/** A server takes one client at a time. Ours answers others with EBUSY; libvfio-user's says nothing and closes. */
function isTurnedAway(error: unknown): boolean {
  if (error instanceof ReplyError) return error.code === "EBUSY";
  return error instanceof VfioError && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

/** A vfio-user server on this host, with its control socket where it has one, or a device of the kernel's VFIO. */
export class LocalEnd {
  private constructor(
    readonly path: string,
    readonly client: MigratingClient,
    /** Undefined: the server takes no part in the hand-over, as libvfio-user's do not. */
    readonly control: HandOverControl | undefined,
  ) {}

  /**
   * @param path of a socket, or a kernel device's address (`vfio:0000:01:00.0`)
   * @param reclaim a device that was given away is dropped, and taken back
   * @throws VfioError EBUSY: the server has another client, or is in a hand-over
   * @throws SyscallError, VfioError as VfioUserClient.connect
   */
  static async connect(path: string, options: LocalEndOptions, reclaim: boolean): Promise<LocalEnd> {
    if (isKernelAddress(path)) return new LocalEnd(path, openKernelDevice(path), undefined);
    const { controlPath, timeoutMs } = options;
    const control = await HandOverControl.open(path, controlPath, timeoutMs);
    try {
      const status = await control?.status();
      if (reclaim && status?.phase === "given") await control!.reclaim(status.id!);
      else if (status && status.phase !== "none") throw handOverPending(path, status);
      const client = await VfioUserClient.connect(path, {
        twinSocket: false,
        ...(timeoutMs !== undefined && { timeoutMs }),
      });
      return new LocalEnd(path, client, control);
    } catch (error) {
      control?.close();
      if (isTurnedAway(error)) throw otherClient(path);
      throw error;
    }
  }

  /** An end that is connected already. Closing it closes `client` and `control`. */
  static over(path: string, client: MigratingClient, control: HandOverControl | undefined): LocalEnd {
    return new LocalEnd(path, client, control);
  }

  async describe(): Promise<EndpointDescription> {
    const status = await this.control?.status();
    const stream = await this.control?.stream();
    return {
      name: this.path,
      identity: await this.#identity(),
      flags: await this.named(this.client.migration.flags()),
      state: await this.#state(),
      generation: status?.generation,
      handOver: status !== undefined,
      ...(status && { instance: status.instance }),
      ...(stream && { stream }),
    };
  }

  /** A step of the hand-over; `otherwise` with a server that takes no part in it. */
  async step(step: HandOverAction, id: string, otherwise: () => Promise<void>, to?: string): Promise<void> {
    if (this.control) await this.control.step(step, id, to);
    else await this.named(otherwise());
  }

  /** What the client throws, with the end's name. */
  async named<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw error instanceof VfioError ? error.at(this.path) : error;
    }
  }

  close(): void {
    this.client.close();
    this.control?.close();
  }

  async #identity(): Promise<DeviceIdentity> {
    const bytes = new Uint8Array(CONFIG_HEADER);
    const count = await this.named(this.client.regionRead(RegionIndex.CONFIG, 0, bytes));
    if (count < CONFIG_HEADER)
      throw new VfioError("EPROTO", `${this.path}: the configuration space has ${count} bytes`);
    const view = new DataView(bytes.buffer);
    return {
      vendor: view.getUint16(PciHeader.VENDOR_ID, true),
      device: view.getUint16(PciHeader.DEVICE_ID, true),
      subsystemVendor: view.getUint16(PciHeader.SUBSYSTEM_VENDOR_ID, true),
      subsystemDevice: view.getUint16(PciHeader.SUBSYSTEM_ID, true),
      classCode: view.getUint32(PciHeader.REVISION_ID, true) >>> 8,
      revision: view.getUint8(PciHeader.REVISION_ID),
    };
  }

  /** RUNNING for a device that has no migration state: its flags say so. */
  async #state(): Promise<MigrationStateName> {
    try {
      return await this.client.migration.state();
    } catch (error) {
      if (error instanceof ReplyError) return "RUNNING";
      throw error;
    }
  }

  /** Bytes that STOP_COPY would send; 0 where the server does not tell (libvfio-user). */
  async dataSize(): Promise<number> {
    if (!(await this.client.migration.probe(Feature.MIG_DATA_SIZE, "get"))) return 0;
    return Number(await this.client.migration.dataSize());
  }
}

function otherClient(path: string): VfioError {
  return new VfioError(
    "EBUSY",
    `${path}: another client is connected, and a server has one at a time. Disconnect it, or put a relay between ` +
      `it and the server (vfiokit relay) and migrate that`,
  );
}

function handOverPending(path: string, status: HandOverReport): VfioError {
  return new VfioError("EBUSY", `${path}: ${keptAway(status, path) ?? "in a hand-over"}`);
}
