/** Regions of the device as the client sees them, and as memory where the server lets it map them. */

import { RegionFlags, type MmapArea } from "@vfiokit/core/host";
import { Mapping, type Fd, type MapOptions } from "../linux/index.js";
import type {
  RegionCapability,
  ReplyPayload,
  ShadowSubRegion,
  StructValue,
  SubRegion,
} from "../wire/index.js";
import { type CallOptions, protocolError } from "../socket/index.js";
import { payloadOf, type Connection } from "./connection.js";

/** Room for a region's capabilities, or for its sub-regions, at the first try. */
const INFO_ROOM = 4096;
const MAX_INFO = 64 * 1024;

/** A region of a served device. Sizes are in bytes. */
export interface RegionDescription {
  readonly index: number;
  /** RegionFlags. */
  readonly flags: number;
  /** Bytes; 0: the device has no such region. */
  readonly size: number;
  /** Where the region starts in the descriptor to map. */
  readonly offset: number;
  readonly capabilities: readonly RegionCapability[];
  /** What can be mapped; empty without RegionFlags.MMAP. */
  readonly mmapAreas: readonly MmapArea[];
}

/** Asks for a region, again where its capabilities need more room. `fd` is the caller's to close. */
export async function queryRegion(
  connection: Connection,
  index: number,
  options: CallOptions,
): Promise<{ description: RegionDescription; fd: Fd | undefined }> {
  for (let argsz = INFO_ROOM; ;) {
    const request = { argsz, flags: 0, index, cap_offset: 0, size: 0n, offset: 0n };
    const { info, fd } = await connection.request(
      "DEVICE_GET_REGION_INFO",
      request,
      options,
      (message, _view, fds) => ({
        info: payloadOf("DEVICE_GET_REGION_INFO", message.slice()),
        fd: fds.shift(),
      }),
    );
    try {
      if (info.index !== index) throw protocolError(`region ${index} was answered with region ${info.index}`);
      if (info.argsz <= argsz) return { description: describeRegion(info), fd };
      if (info.argsz > MAX_INFO) throw protocolError(`region ${index} needs ${info.argsz} bytes of info`);
    } catch (error) {
      fd?.close();
      throw error;
    }
    fd?.close();
    argsz = info.argsz;
  }
}

/** Writes to a region that descriptors stand for. `fds` are the caller's to close; `fd_index` counts them. */
export interface RegionIoFds {
  readonly subRegions: readonly (StructValue<typeof SubRegion> | StructValue<typeof ShadowSubRegion>)[];
  readonly fds: readonly Fd[];
}

export function queryIoFds(
  connection: Connection,
  index: number,
  options: CallOptions,
): Promise<RegionIoFds> {
  const request = { argsz: INFO_ROOM, flags: 0, index, count: 0 };
  return connection.request("DEVICE_GET_REGION_IO_FDS", request, options, (message, _view, fds) => {
    const { sub_regions } = payloadOf("DEVICE_GET_REGION_IO_FDS", message);
    const wrong = sub_regions.find(({ fd_index }) => fd_index >= fds.length);
    if (wrong) throw protocolError(`fd_index is ${wrong.fd_index}: ${fds.length} descriptors came`);
    return { subRegions: sub_regions, fds: fds.splice(0) };
  });
}

/** @throws VfioError EPROTO for sizes that no number holds, and areas outside of the region */
export function describeRegion(info: ReplyPayload<"DEVICE_GET_REGION_INFO">): RegionDescription {
  const { index, flags, capabilities } = info;
  const size = asNumber("size", info.size);
  const offset = asNumber("offset", info.offset);
  return { index, flags, size, offset, capabilities, mmapAreas: mmapAreas(flags, size, capabilities) };
}

function mmapAreas(flags: number, size: number, capabilities: readonly RegionCapability[]): MmapArea[] {
  if (!(flags & RegionFlags.MMAP) || size === 0) return [];
  const sparse = capabilities.find((one) => one.kind === "sparse-mmap");
  // Capabilities that were announced and did not come (cap_offset 0) may say that only parts can be mapped.
  const untold = (flags & RegionFlags.CAPS) !== 0 && capabilities.length === 0;
  if (!sparse) return untold ? [] : [{ offset: 0, size }];
  return sparse.areas.map((area) => {
    const one = { offset: asNumber("area offset", area.offset), size: asNumber("area size", area.size) };
    if (one.size === 0 || one.offset + one.size > size) {
      throw protocolError(`a mappable area of ${one.size} bytes at ${one.offset}: the region has ${size}`);
    }
    return one;
  });
}

/** A mapped part of a region. */
export interface MappedArea {
  /** In the region. */
  readonly offset: number;
  /** Length 0 once disposed of. */
  readonly bytes: Uint8Array;
}

/** The mappable parts of a region, mapped. It shows the memory of the server it came from, also when that has gone. */
export class MappedRegion implements Disposable {
  readonly areas: readonly MappedArea[];
  readonly #mappings: Mapping[] = [];

  /** `fd` stays the caller's. @throws VfioError EINVAL for a file that is too short; SyscallError from mmap */
  constructor(
    readonly description: RegionDescription,
    fd: Fd,
    private readonly onDispose: () => void = () => undefined,
    map: (fd: Fd, options: MapOptions) => Mapping = (...of) => Mapping.ofFile(...of),
  ) {
    const writable = (description.flags & RegionFlags.WRITE) !== 0;
    try {
      this.areas = description.mmapAreas.map(({ offset, size: length }) => {
        const mapping = map(fd, { offset: description.offset + offset, length, writable });
        this.#mappings.push(mapping);
        return { offset, bytes: mapping.bytes };
      });
    } catch (error) {
      this.#unmap();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#unmap();
    this.onDispose();
  }

  #unmap(): void {
    for (const mapping of this.#mappings.splice(0)) mapping[Symbol.dispose]();
  }
}

function asNumber(what: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw protocolError(`a region's ${what} is ${value}: too large`);
  return Number(value);
}
