/** Regions of the device as the client sees them, and as memory where the server lets it map them. */

import { RegionFlags, type MmapArea } from "@vfiokit/core";
import { Mapping, type Fd } from "../linux/index.js";
import type { RegionCapability, ReplyPayload } from "../wire/index.js";
import { protocolError } from "./errors.js";

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
  if (!sparse) return [{ offset: 0, size }];
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
  ) {
    const writable = (description.flags & RegionFlags.WRITE) !== 0;
    try {
      this.areas = description.mmapAreas.map(({ offset, size: length }) => {
        const mapping = Mapping.ofFile(fd, { offset: description.offset + offset, length, writable });
        this.#mappings.push(mapping);
        return { offset, bytes: mapping.bytes };
      });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const mapping of this.#mappings.splice(0)) mapping[Symbol.dispose]();
  }
}

function asNumber(what: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw protocolError(`a region's ${what} is ${value}: too large`);
  return Number(value);
}
