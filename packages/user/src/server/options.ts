import { VfioError } from "@vfiokit/core";
import type { DmaAccessMode } from "../linux/index.js";

/** How severe a line of the log is. */
export type LogLevel = "error" | "warn" | "info" | "debug";
/** Where a server reports. `message` is one line. */
export type Log = (level: LogLevel, message: string) => void;

/** Where a server listens, its limits, and who hears of it. */
export interface ServerOptions {
  /** Listen at this path. */
  readonly socketPath?: string;
  /**
   * Or serve the one client at the other end of this connected socket, which the server takes over
   * (`--fd`, vfio-user: "Backend program conventions").
   */
  readonly fd?: number;
  readonly log?: Log;
  /** Descriptors that a client may send in one message (max_msg_fds). Default 16: cloud-hypervisor sends that many at once. */
  readonly maxMsgFds?: number;
  /** Largest count of an access in bytes (max_data_xfer_size). Default 1 MiB. */
  readonly maxDataXferSize?: number;
  /** Offer a second socket for DMA messages to clients that can use one. Default true. */
  readonly twinSocket?: boolean;
  /**
   * How to reach the client's memory: "mmap" is fast; with "file" a client that shrinks its memory's file after mapping it
   * fails that access, and does not end this process by SIGBUS. "auto" (default) maps what is sealed against that.
   */
  readonly dmaAccess?: DmaAccessMode;
  /**
   * DMA_UNMAP takes exactly one map, as vfio-user's text has it. Default false, as Linux's type1v2: a range may cover
   * several whole maps, which QEMU relies on with an IOMMU.
   */
  readonly strictUnmap?: boolean;
  /** Milliseconds after which a DMA message that the client does not answer fails. Default 5000. */
  readonly dmaTimeout?: number;
  /**
   * Milliseconds in which a client has to agree on a version: one that connects and says nothing must not keep
   * the device from others. Default 10,000.
   */
  readonly versionTimeout?: number;
  /**
   * What becomes of the device's state between two clients. "keep" (default): the next one finds it as it was left.
   * "reset": as Linux does when VFIO files are opened and closed, the device is reset when a client comes and again when
   * it goes, and the whole device set when the last of its clients goes, if one function could not be reset alone.
   */
  readonly onDisconnect?: "keep" | "reset";
}

/** The options that a connection needs, with their defaults. */
export interface ConnectionSettings {
  readonly log: Log;
  readonly maxMsgFds: number;
  readonly maxDataXferSize: number;
  readonly twinSocket: boolean;
  readonly dmaAccess: DmaAccessMode;
  readonly strictUnmap: boolean;
  readonly dmaTimeout: number;
  readonly versionTimeout: number;
  readonly onDisconnect: "keep" | "reset";
}

/** @throws VfioError EINVAL */
export function settingsOf(options: ServerOptions): ConnectionSettings {
  const settings: ConnectionSettings = {
    log: options.log ?? (() => undefined),
    maxMsgFds: options.maxMsgFds ?? 16,
    maxDataXferSize: options.maxDataXferSize ?? 1024 * 1024,
    twinSocket: options.twinSocket ?? true,
    dmaAccess: options.dmaAccess ?? "auto",
    strictUnmap: options.strictUnmap ?? false,
    dmaTimeout: options.dmaTimeout ?? 5000,
    versionTimeout: options.versionTimeout ?? 10_000,
    onDisconnect: options.onDisconnect ?? "keep",
  };
  requireRange("maxMsgFds", settings.maxMsgFds, 1, 253);
  requireRange("maxDataXferSize", settings.maxDataXferSize, 4096, 64 * 1024 * 1024);
  requireRange("dmaTimeout", settings.dmaTimeout, 1, 2 ** 31 - 1);
  requireRange("versionTimeout", settings.versionTimeout, 1, 2 ** 31 - 1);
  return settings;
}

function requireRange(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new VfioError("EINVAL", `${name} ${value}: from ${least} to ${most}`);
}
