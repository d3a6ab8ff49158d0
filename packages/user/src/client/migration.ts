/** Migration and dirty logging over DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE. */

import { Errno, VfioError } from "@vfiokit/core";
import { MigrationState, type MigrationStateName, type PrecopyInfo } from "@vfiokit/core/migration";
import * as wire from "../wire/index.js";
import { type CallOptions, ReplyError, protocolError } from "../socket/index.js";

/** What migration needs of the client. */
export interface MigrationCommands {
  command<C extends "DEVICE_FEATURE" | "MIG_DATA_READ" | "MIG_DATA_WRITE">(
    command: C,
    payload: wire.RequestPayload<C>,
    options: CallOptions,
  ): Promise<wire.ReplyPayload<C>>;
  /** Bytes of one transfer. */
  maxTransfer(): number;
}

/** A range of device addresses. Bytes. */
export interface DmaRange {
  readonly iova: bigint;
  readonly length: bigint;
}

const NO_DATA = new Uint8Array();
/** Of a dirty report, in bytes: 32 TiB in pages of 4 KiB. */
const MAX_BITMAP = 2n ** 30n;
const { GET, SET, PROBE } = wire.FeatureFlags;

/** The migration of a served device: its state, its data, its dirty pages. */
export class ClientMigration {
  constructor(private readonly client: MigrationCommands) {}

  /** MigrationFlags of the device; 0 where it cannot be migrated. */
  async flags(options: CallOptions = {}): Promise<number> {
    try {
      const data = await this.get(wire.Feature.MIGRATION, wire.FeatureMigration.size, NO_DATA, options);
      return Number(wire.FeatureMigration.decode(data).flags & 0xffff_ffffn);
    } catch (error) {
      if (isAbsent(error)) return 0;
      throw error;
    }
  }

  async state(options: CallOptions = {}): Promise<MigrationStateName> {
    const data = await this.get(wire.Feature.MIG_DEVICE_STATE, wire.FeatureMigState.size, NO_DATA, options);
    return stateName(wire.FeatureMigState.decode(data).device_state);
  }

  /** Takes the device to another state, on whatever way there is. Fulfilled once it is there. */
  async setState(state: MigrationStateName, options: CallOptions = {}): Promise<void> {
    const data = wire.FeatureMigState.encode({ device_state: MigrationState[state], data_fd: -1 });
    await this.set(wire.Feature.MIG_DEVICE_STATE, data, options);
  }

  /** Estimated bytes of the stream; while it is being read, of what is left of it. */
  async dataSize(options: CallOptions = {}): Promise<bigint> {
    const data = await this.get(wire.Feature.MIG_DATA_SIZE, wire.FeatureMigDataSize.size, NO_DATA, options);
    return wire.FeatureMigDataSize.decode(data).stop_copy_length;
  }

  /**
   * What there is to be sent in PRE_COPY, in bytes. A re-initialisation is told of once. Undefined: the server does not
   * tell (only vfiokit's do), or the device is not in PRE_COPY.
   */
  async precopyInfo(options: CallOptions = {}): Promise<PrecopyInfo | undefined> {
    try {
      const data = await this.get(
        wire.Feature.MIG_PRECOPY_INFO,
        wire.FeaturePrecopyInfo.size,
        NO_DATA,
        options,
      );
      const { flags, initial_bytes, dirty_bytes } = wire.FeaturePrecopyInfo.decode(data);
      return {
        initialBytes: Number(initial_bytes),
        dirtyBytes: Number(dirty_bytes),
        reinitialized: (flags & wire.PrecopyInfoFlags.REINIT) !== 0,
      };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** Reads up to `size` bytes of the stream; fewer: there is no more of it, for now in PRE_COPY. */
  async read(size = this.client.maxTransfer(), options: CallOptions = {}): Promise<Uint8Array> {
    const asked = Math.min(size, this.client.maxTransfer());
    const request = { argsz: wire.MigrationData.size + asked, size: asked };
    const { data } = await this.client.command("MIG_DATA_READ", request, options);
    if (data.length > asked) throw protocolError(`MIG_DATA_READ of ${asked} bytes gave ${data.length}`);
    return data;
  }

  /** The stream to its end (STOP_COPY), or to what there is of it (PRE_COPY), in chunks of `size` bytes. */
  async *stream(size = this.client.maxTransfer(), options: CallOptions = {}): AsyncGenerator<Uint8Array> {
    const asked = Math.min(size, this.client.maxTransfer());
    for (;;) {
      const data = await this.read(asked, options);
      if (data.length > 0) yield data;
      // vfio-user: "If this is less than the requested size, there is no more migration data to read."
      if (data.length < asked) return;
    }
  }

  /** Writes to the stream of a device in RESUMING, in as many messages as it needs. */
  async write(from: Uint8Array, options: CallOptions = {}): Promise<void> {
    const most = this.client.maxTransfer();
    for (let done = 0; done < from.length; done += most) {
      const data = from.subarray(done, done + most);
      const request = { argsz: wire.MigrationData.size + data.length, size: data.length, data };
      await this.client.command("MIG_DATA_WRITE", request, options);
    }
  }

  /** Starts to log which pages the device writes. No ranges: everywhere. @returns the page size in use */
  async startLogging(
    pageSize: bigint,
    ranges: readonly DmaRange[] = [],
    options: CallOptions = {},
  ): Promise<bigint> {
    const control = { page_size: pageSize, num_ranges: ranges.length, reserved: 0, ranges };
    const data = wire.FeatureDmaLoggingControl.encode(control);
    const reply = await this.set(wire.Feature.DMA_LOGGING_START, data, options);
    return wire.FeatureDmaLoggingControl.decode(reply).page_size;
  }

  async stopLogging(options: CallOptions = {}): Promise<void> {
    await this.set(wire.Feature.DMA_LOGGING_STOP, NO_DATA, options);
  }

  /**
   * Which pages were written since the last report: one bit a page, from the lowest bit of the first byte, in whole
   * 64-bit words. Asks in pieces where the bitmap is larger than the server's max_data_xfer_size.
   * @throws VfioError EINVAL: a bitmap of more than 1 GiB
   */
  async dirtyPages(
    { iova, length }: DmaRange,
    pageSize: bigint,
    options: CallOptions = {},
  ): Promise<Uint8Array> {
    const size = wire.bitmapSize(length, pageSize);
    const most = BigInt(this.client.maxTransfer()) & ~7n;
    if (size <= most) return this.#reportPages({ iova, length }, pageSize, options);
    if (size > MAX_BITMAP)
      throw new VfioError("EINVAL", `length ${length}: a bitmap of ${size} bytes, at most ${MAX_BITMAP}`);
    const bitmap = new Uint8Array(Number(size));
    const step = most * 8n * pageSize;
    for (let done = 0n, at = 0; done < length; done += step, at += Number(most)) {
      const piece = { iova: iova + done, length: done + step < length ? step : length - done };
      bitmap.set(await this.#reportPages(piece, pageSize, options), at);
    }
    return bitmap;
  }

  async #reportPages(
    { iova, length }: DmaRange,
    pageSize: bigint,
    options: CallOptions,
  ): Promise<Uint8Array> {
    const request = wire.FeatureDmaLoggingReportRequest.encode({ iova, length, page_size: pageSize });
    const expected = Number(wire.bitmapSize(length, pageSize));
    const size = wire.FeatureDmaLoggingReport.size + expected;
    const data = await this.get(wire.Feature.DMA_LOGGING_REPORT, size, request, options);
    const { bitmap } = wire.FeatureDmaLoggingReport.decode(data);
    if (bitmap.length !== expected)
      throw protocolError(`a bitmap of ${bitmap.length} bytes: ${expected} expected`);
    return bitmap;
  }

  /** Whether the device has a feature, with these operations. */
  async probe(
    feature: number,
    operations: "get" | "set" | "get-set" | "any",
    options: CallOptions = {},
  ): Promise<boolean> {
    const wanted = { get: GET, set: SET, "get-set": GET | SET, any: 0 }[operations];
    try {
      await this.#feature(PROBE | wanted | feature, wire.DeviceFeature.size, NO_DATA, options);
      return true;
    } catch (error) {
      if (error instanceof ReplyError) return false;
      throw error;
    }
  }

  /** The data of a feature. @param size bytes of data in the reply */
  get(feature: number, size: number, data: Uint8Array, options: CallOptions = {}): Promise<Uint8Array> {
    return this.#feature(GET | feature, wire.DeviceFeature.size + size, data, options);
  }

  /** @returns the data of the reply */
  set(feature: number, data: Uint8Array, options: CallOptions = {}): Promise<Uint8Array> {
    return this.#feature(SET | feature, wire.DeviceFeature.size + data.length, data, options);
  }

  async #feature(flags: number, argsz: number, data: Uint8Array, options: CallOptions): Promise<Uint8Array> {
    const request = { argsz: Math.max(argsz, wire.DeviceFeature.size + data.length), flags, data };
    const reply = await this.client.command("DEVICE_FEATURE", request, options);
    if ((reply.flags & wire.FEATURE_MASK) !== (flags & wire.FEATURE_MASK)) {
      throw protocolError(
        `DEVICE_FEATURE ${flags & wire.FEATURE_MASK} was answered with ${reply.flags & wire.FEATURE_MASK}`,
      );
    }
    return reply.data;
  }
}

/** VFIO uAPI: ENOTTY for a feature that does not exist; libvfio-user answers EINVAL. */
function isAbsent(error: unknown): boolean {
  const absent: readonly number[] = [Errno.ENOTTY, Errno.EINVAL, Errno.EOPNOTSUPP];
  return error instanceof ReplyError && absent.includes(error.errno);
}

function stateName(state: number): MigrationStateName {
  const name = (Object.keys(MigrationState) as MigrationStateName[]).find(
    (one) => MigrationState[one] === state,
  );
  if (!name) throw protocolError(`the migration state is ${state}`);
  return name;
}
