/** The client's memory that the server may access, and access to it by messages. */

import { Errno, VfioError } from "@vfiokit/core";
import { createMemfd, Mapping, type Fd } from "../linux/index.js";

/** Memory for DMA. With a file the server maps it; without one it asks for every byte by message. */
export interface DmaMemory {
  readonly bytes: Uint8Array;
  readonly file?: Fd | undefined;
}

/** Memory that a server can map. Detached (length 0) after disposal. */
export class SharedDmaMemory implements DmaMemory, Disposable {
  readonly file: Fd;
  readonly #mapping: Mapping;

  /**
   * @param size bytes
   * @param onDispose called after each disposal
   */
  constructor(
    size: number,
    private readonly onDispose: () => void = () => undefined,
  ) {
    this.file = createMemfd("vfiokit-dma", size);
    try {
      this.#mapping = Mapping.ofFile(this.file, { length: size, writable: true });
    } catch (error) {
      this.file.close();
      throw error;
    }
  }

  get bytes(): Uint8Array {
    return this.#mapping.bytes;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.file.close();
    this.onDispose();
  }
}

/** A part of the client's memory at an address of the device's. */
export interface DmaMapping {
  readonly address: bigint;
  /** Bytes. */
  readonly size: number;
  readonly memory: DmaMemory;
  /** Of the map's first byte in the memory. */
  readonly offset: number;
  /** Whether the device may read it. */
  readonly readable: boolean;
  readonly writable: boolean;
  /** Whether the server gets the memory's file. */
  readonly share: boolean;
}

/** All maps, sorted by address. They do not overlap. */
export class DmaMaps {
  readonly #maps: DmaMapping[] = [];

  get all(): readonly DmaMapping[] {
    return this.#maps;
  }

  /** @throws VfioError EEXIST for a map that overlaps another */
  add(map: DmaMapping): void {
    const at = this.#after(map.address);
    const before = this.#maps[at - 1];
    const next = this.#maps[at];
    const end = ({ address, size }: DmaMapping): bigint => address + BigInt(size);
    if ((before && end(before) > map.address) || (next && end(map) > next.address)) {
      throw new VfioError(
        "EEXIST",
        `a map of ${map.size} bytes at 0x${map.address.toString(16)} overlaps another`,
      );
    }
    this.#maps.splice(at, 0, map);
  }

  remove(map: DmaMapping): void {
    const at = this.#maps.indexOf(map);
    if (at >= 0) this.#maps.splice(at, 1);
  }

  find(address: bigint, size: bigint): DmaMapping | undefined {
    const map = this.#maps[this.#after(address) - 1];
    return map?.address === address && BigInt(map.size) === size ? map : undefined;
  }

  clear(): void {
    this.#maps.length = 0;
  }

  /**
   * Copies between the maps from `address` on and `buffer`, which may span adjacent maps.
   * @returns 0, or the errno to answer: EFAULT where nothing is mapped, EPERM where a map does not allow it
   */
  access(address: bigint, buffer: Uint8Array, direction: "read" | "write"): number {
    for (let done = 0; done < buffer.length;) {
      const from = address + BigInt(done);
      const map = this.#maps[this.#after(from) - 1];
      const inside = map ? from - map.address : 0n;
      if (!map || inside >= BigInt(map.size)) return Errno.EFAULT;
      if (!(direction === "read" ? map.readable : map.writable)) return Errno.EPERM;
      const start = map.offset + Number(inside);
      const count = Math.min(buffer.length - done, map.size - Number(inside));
      // Memory that was disposed of while it was mapped is detached.
      if (map.memory.bytes.length < start + count) return Errno.EFAULT;
      const here = map.memory.bytes.subarray(start, start + count);
      const there = buffer.subarray(done, done + count);
      if (direction === "read") there.set(here);
      else here.set(there);
      done += count;
    }
    return 0;
  }

  /** Index of the first map that starts beyond `address`. */
  #after(address: bigint): number {
    let low = 0;
    let high = this.#maps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#maps[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** What `dmaMap` is asked for. */
export interface DmaMapOptions {
  readonly address: bigint;
  readonly memory: DmaMemory;
  /** Of the first byte in the memory; a multiple of the page size where the memory is shared. Default 0. */
  readonly offset?: number;
  /** Bytes. Default: to the end of the memory. */
  readonly size?: number;
  /** Default true. */
  readonly readable?: boolean;
  /** Default true. */
  readonly writable?: boolean;
  /** Gives the server the memory's file to map. Default: if it has one. */
  readonly share?: boolean;
}

/** @throws VfioError EINVAL for a range that is not in the memory */
export function dmaMapping(options: DmaMapOptions): DmaMapping {
  const { address, memory, offset = 0, readable = true, writable = true } = options;
  const { size = memory.bytes.length - offset, share = memory.file !== undefined } = options;
  const { length } = memory.bytes;
  if (![offset, size].every(Number.isSafeInteger) || offset < 0 || size < 1 || offset + size > length) {
    throw new VfioError(
      "EINVAL",
      `a map of ${size} bytes at offset ${offset}: the memory has ${length} bytes`,
    );
  }
  if (share && !memory.file) throw new VfioError("EINVAL", "memory without a file cannot be shared");
  return { address, size, memory, offset, readable, writable, share };
}
