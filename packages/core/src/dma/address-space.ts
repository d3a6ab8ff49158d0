import { RwSemaphore, Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { ClientMemory, DmaBacking } from "../memory.js";
import { DirtyLog } from "./dirty-log.js";
import { MapTable, type DmaMap } from "./map-table.js";
import { ADDRESS_END, PAGE_SIZE, addressOf, frameOf, hex, offsetOf, type DmaAddress } from "./page.js";

/** What VFIO_USER_DMA_MAP asks for. */
export interface DmaMapRequest {
  readonly address: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** The device may read it. */
  readonly readable: boolean;
  /** The device may write it. */
  readonly writable: boolean;
  /** Absent: the memory is reached by messages (`clientMemory`). */
  readonly backing: DmaBacking | undefined;
}

export interface DmaLimits {
  /** Maps at a time (vfio-user: max_dma_maps). */
  readonly maxMaps?: number;
  /** Page sizes of maps, or'ed together (vfio-user: pgsizes). The smallest is the alignment; at least 4 KiB. */
  readonly pageSizes?: number;
}

const DEFAULT_MAX_MAPS = 65535;

/** Copies up to this many bytes in a loop: cheaper than making a view for TypedArray.set. */
const SHORT_COPY = 64;

/** Bytes that are only read: writing through them would not be logged, and may hit memory mapped read-only. */
export type ReadonlyBytes = Omit<
  Uint8Array,
  number | "set" | "fill" | "copyWithin" | "reverse" | "sort" | "subarray"
> & {
  readonly [index: number]: number;
  subarray(begin?: number, end?: number): ReadonlyBytes;
};

/**
 * The client's memory as the device sees it: the maps the client made, and DMA through them.
 *
 * `map`, `unmap` and `disconnect` change it and hold `mmapLock` for writing; DMA holds it for reading. So an
 * unmap waits for the DMA that is under way, and once its reply is sent the device touches the memory no more
 * (vfio-user: DMA_UNMAP must release all references before replying).
 *
 * Accesses to mapped memory complete at once and return nothing. They return a promise only where a message to
 * the client is needed, or where a map or an unmap is waiting for such a message and comes first.
 */
export class DmaAddressSpace {
  /** Linux: mm->mmap_lock. */
  readonly mmapLock = new RwSemaphore("mmapLock");
  readonly dirtyLog = new DirtyLog();
  /** How to reach maps without a descriptor: the connection to the client, while there is one. */
  clientMemory: ClientMemory | undefined;

  readonly #table = new MapTable();
  readonly #maxMaps: number;
  readonly #alignment: bigint;
  /** Owner of the lock in accesses that complete at once; those that wait have a task of their own. */
  readonly #task = new Task("dma");

  constructor(limits: DmaLimits = {}) {
    const pageSizes = limits.pageSizes ?? PAGE_SIZE;
    this.#maxMaps = limits.maxMaps ?? DEFAULT_MAX_MAPS;
    this.#alignment = BigInt(pageSizes) & -BigInt(pageSizes); // lowest bit set
    if (this.#alignment < PAGE_SIZE)
      throw new VfioError("EINVAL", `pageSizes ${hex(pageSizes)}: the smallest page size is 4 KiB`);
  }

  get mapCount(): number {
    return this.#table.size;
  }

  // The client's side.

  /**
   * VFIO_USER_DMA_MAP. The backing is the address space's from here on: it is released once, when its map is
   * gone, or at once where the request fails.
   * @throws VfioError EINVAL: zero size, no alignment, wrap, no permission; EEXIST: overlap; ENOSPC: too many
   *   (or rejects, if it had to wait for mmapLock)
   */
  map(task: Task, request: DmaMapRequest): void | Promise<void> {
    const { backing } = request;
    try {
      this.#checkRange(request.address, request.size);
      checkAccess(request);
      const wait = this.mmapLock.downWrite(task);
      if (wait) return this.#mapLater(task, wait, request);
    } catch (error) {
      backing?.release();
      throw error;
    }
    this.#mapLocked(task, request);
  }

  /**
   * VFIO_USER_DMA_UNMAP of a range that is exactly one map or covers several whole ones (QEMU with an IOMMU
   * unmaps by large ranges).
   * @throws VfioError EINVAL: zero size, no alignment, wrap; ENOENT: no map there, or one reaches out of the
   *   range (or rejects, if it had to wait for mmapLock)
   */
  unmap(task: Task, address: bigint, size: bigint): void | Promise<void> {
    this.#checkRange(address, size);
    const wait = this.mmapLock.downWrite(task);
    if (wait) return wait.then(() => this.#unmapLocked(task, address, size));
    this.#unmapLocked(task, address, size);
  }

  /** VFIO_USER_DMA_UNMAP with VFIO_DMA_UNMAP_FLAG_ALL. Without maps it succeeds. */
  unmapAll(task: Task): void | Promise<void> {
    const wait = this.mmapLock.downWrite(task);
    if (wait) return wait.then(() => this.#unmapAllLocked(task));
    this.#unmapAllLocked(task);
  }

  /**
   * The client is gone: no maps, no logging, no messages. Waits for messages under way, which whoever embeds
   * this must have failed.
   */
  disconnect(task: Task): void | Promise<void> {
    this.clientMemory = undefined;
    this.dirtyLog.stop();
    return this.unmapAll(task);
  }

  // The device's side.

  /**
   * DMA from the client's memory, through as many adjacent maps as it takes. All or nothing, but for what a
   * backing or the client fails in the middle.
   * @throws VfioError EFAULT: not mapped; EACCES: not readable (or rejects, where a promise is returned)
   */
  read(address: DmaAddress, into: Uint8Array): void | Promise<void> {
    return this.#transfer(address, into, false);
  }

  /**
   * DMA to the client's memory, as `read`. Logged as dirty.
   * @throws VfioError EFAULT: not mapped; EACCES: not writable (or rejects, where a promise is returned)
   */
  write(address: DmaAddress, from: Uint8Array): void | Promise<void> {
    return this.#transfer(address, from, true);
  }

  /**
   * The client's memory itself, to be read without a copy: undefined unless all of it is in one map, mapped
   * and readable. Use it before the next `await`: an unmap does not wait for views.
   */
  view(address: DmaAddress, size: number): ReadonlyBytes | undefined {
    return this.#bytes(address, size, false);
  }

  /**
   * Writes to the client's memory without a copy: calls `change` with the memory itself and logs it as dirty.
   * @returns false, and calls nothing, unless all of it is in one map, mapped and writable
   */
  modify(address: DmaAddress, size: number, change: (bytes: Uint8Array) => void): boolean {
    const bytes = this.#bytes(address, size, true);
    if (!bytes) return false;
    try {
      change(bytes);
    } finally {
      this.#logWrite(frameOf(address), offsetOf(address), size);
    }
    return true;
  }

  #bytes(address: DmaAddress, size: number, write: boolean): Uint8Array | undefined {
    const frame = frameOf(address);
    const map = this.#table.at(this.#table.find(frame));
    if (!map?.bytes || !(write ? map.writable : map.readable)) return undefined;
    const start = (frame - map.first) * PAGE_SIZE + offsetOf(address);
    if (start + size > map.bytes.length) return undefined;
    return map.bytes.subarray(start, start + size);
  }

  #transfer(address: DmaAddress, buffer: Uint8Array, write: boolean): void | Promise<void> {
    if (buffer.length === 0) return;
    const frame = frameOf(address);
    const offset = offsetOf(address);
    // Fails behind a waiting map or unmap, too.
    if (!this.mmapLock.tryDownRead(this.#task)) return this.#transferLater(frame, offset, buffer, write);
    let direct;
    try {
      direct = this.#check(frame, offset, buffer.length, write);
      if (direct) this.#transferDirect(frame, offset, buffer, write);
    } finally {
      this.mmapLock.upRead(this.#task);
    }
    if (!direct) return this.#transferLater(frame, offset, buffer, write);
  }

  /**
   * Whether all of it can be reached without messages. Under mmapLock.
   * @throws VfioError EFAULT, EACCES
   */
  #check(frame: number, offset: number, size: number, write: boolean): boolean {
    let direct = true;
    let at = frame;
    let left = size + offset;
    for (let index = this.#table.find(frame); left > 0; index++) {
      const map = this.#table.at(index);
      if (!map || map.first > at)
        throw new VfioError(
          "EFAULT",
          `${describe(frame, offset, size, write)}: page ${page(at)} is not mapped`,
        );
      if (!(write ? map.writable : map.readable))
        throw new VfioError(
          "EACCES",
          `${describe(frame, offset, size, write)}: the map at ${page(map.first)} does not allow it`,
        );
      if (!map.backing) direct = false;
      left -= (map.end - at) * PAGE_SIZE;
      at = map.end;
    }
    return direct;
  }

  /** Under mmapLock, checked, and no map of the range without a backing. */
  #transferDirect(frame: number, offset: number, buffer: Uint8Array, write: boolean): void {
    let at = frame;
    let skip = offset;
    let done = 0;
    try {
      for (let index = this.#table.find(frame); done < buffer.length; index++) {
        const map = this.#table.at(index)!;
        const piece = pieceIn(map, at, skip, buffer, done);
        copy(map, (at - map.first) * PAGE_SIZE + skip, piece, write);
        done += piece.length;
        at = map.end;
        skip = 0;
      }
    } finally {
      if (write) this.#logWrite(frame, offset, buffer.length);
    }
  }

  /** With a lock to wait for or messages to exchange. The lock is held until all is transferred. */
  async #transferLater(frame: number, offset: number, buffer: Uint8Array, write: boolean): Promise<void> {
    const task = new Task(write ? "dma write" : "dma read");
    const wait = this.mmapLock.downRead(task);
    if (wait) await wait;
    try {
      this.#check(frame, offset, buffer.length, write);
      let at = frame;
      let skip = offset;
      let done = 0;
      for (let index = this.#table.find(frame); done < buffer.length; index++) {
        const map = this.#table.at(index)!;
        const piece = pieceIn(map, at, skip, buffer, done);
        if (map.backing) copy(map, (at - map.first) * PAGE_SIZE + skip, piece, write);
        else if (write) await this.#client().write(addressOf(at, skip), piece);
        else await this.#client().read(addressOf(at, skip), piece);
        done += piece.length;
        at = map.end;
        skip = 0;
      }
    } finally {
      // After the client has written: a report in between would clear the bit before the page changes.
      if (write) this.#logWrite(frame, offset, buffer.length);
      this.mmapLock.upRead(task);
    }
  }

  #client(): ClientMemory {
    if (!this.clientMemory) throw new VfioError("EFAULT", "DMA by message: no client is connected");
    return this.clientMemory;
  }

  #logWrite(frame: number, offset: number, size: number): void {
    if (this.dirtyLog.active)
      this.dirtyLog.mark(frame, frame + Math.floor((offset + size - 1) / PAGE_SIZE) + 1);
  }

  /** @throws VfioError EINVAL */
  #checkRange(address: bigint, size: bigint): void {
    if (size <= 0n) throw new VfioError("EINVAL", `size ${hex(size)}: must not be zero`);
    if (address < 0n || address + size > ADDRESS_END)
      throw new VfioError("EINVAL", `address ${hex(address)} + size ${hex(size)}: wraps at 2^64`);
    if (address & (this.#alignment - 1n))
      throw new VfioError("EINVAL", `address ${hex(address)}: not a multiple of ${hex(this.#alignment)}`);
    if (size & (this.#alignment - 1n))
      throw new VfioError("EINVAL", `size ${hex(size)}: not a multiple of ${hex(this.#alignment)}`);
  }

  async #mapLater(task: Task, wait: Promise<void>, request: DmaMapRequest): Promise<void> {
    try {
      await wait;
    } catch (error) {
      request.backing?.release();
      throw error;
    }
    this.#mapLocked(task, request);
  }

  #mapLocked(task: Task, { address, size, readable, writable, backing }: DmaMapRequest): void {
    const first = frameOf(address);
    const end = frameOf(address + size);
    try {
      const index = this.#table.lowerBound(first);
      const next = this.#table.at(index);
      if (next && next.first < end)
        throw new VfioError(
          "EEXIST",
          `address ${hex(address)} size ${hex(size)}: overlaps the map at ${page(next.first)}`,
        );
      if (this.#table.size >= this.#maxMaps)
        throw new VfioError(
          "ENOSPC",
          `address ${hex(address)}: there are ${this.#maxMaps} maps already, the limit`,
        );
      this.#table.insert(index, { first, end, readable, writable, backing, bytes: backing?.bytes });
    } catch (error) {
      backing?.release();
      throw error;
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  #unmapLocked(task: Task, address: bigint, size: bigint): void {
    const first = frameOf(address);
    const end = frameOf(address + size);
    try {
      const index = this.#table.lowerBound(first);
      let count = 0;
      for (;;) {
        const map = this.#table.at(index + count);
        if (!map || map.first >= end) break;
        if (map.first < first || map.end > end)
          throw new VfioError(
            "ENOENT",
            `address ${hex(address)} size ${hex(size)}: the map at ${page(map.first)} reaches out of it`,
          );
        count++;
      }
      if (count === 0) throw new VfioError("ENOENT", `address ${hex(address)} size ${hex(size)}: no map`);
      this.#drop(index, count);
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  #unmapAllLocked(task: Task): void {
    try {
      this.#drop(0, this.#table.size);
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  #drop(index: number, count: number): void {
    for (const map of this.#table.remove(index, count)) map.backing?.release();
  }
}

/** @throws VfioError EINVAL */
function checkAccess({ size, readable, writable, backing }: DmaMapRequest): void {
  // VFIO uAPI: VFIO_IOMMU_MAP_DMA refuses a map without READ and WRITE.
  if (!readable && !writable) throw new VfioError("EINVAL", "flags 0: a map is readable, writable or both");
  if (!backing) return;
  if (backing.bytes && BigInt(backing.bytes.length) !== size)
    throw new VfioError("EINVAL", `size ${hex(size)}: ${hex(backing.bytes.length)} bytes are mapped`);
  if (size > BigInt(Number.MAX_SAFE_INTEGER))
    throw new VfioError("EINVAL", `size ${hex(size)}: no file is that large`);
}

/** The part of the buffer from `done` on that lies in the map. */
function pieceIn(map: DmaMap, at: number, skip: number, buffer: Uint8Array, done: number): Uint8Array {
  const size = Math.min(buffer.length - done, (map.end - at) * PAGE_SIZE - skip);
  return size === buffer.length ? buffer : buffer.subarray(done, done + size);
}

/** Between a map with a backing and a buffer. @param start offset in the map */
function copy(map: DmaMap, start: number, buffer: Uint8Array, write: boolean): void {
  const { bytes } = map;
  if (!bytes) {
    if (write) map.backing!.write(start, buffer);
    else map.backing!.read(start, buffer);
  } else if (buffer.length > SHORT_COPY) {
    if (write) bytes.set(buffer, start);
    else buffer.set(bytes.subarray(start, start + buffer.length));
  } else if (write) {
    for (let i = 0; i < buffer.length; i++) bytes[start + i] = buffer[i]!;
  } else {
    for (let i = 0; i < buffer.length; i++) buffer[i] = bytes[start + i]!;
  }
}

function page(frame: number): string {
  return hex(addressOf(frame, 0));
}

function describe(frame: number, offset: number, size: number, write: boolean): string {
  return `DMA ${write ? "write" : "read"} of ${size} bytes at ${hex(addressOf(frame, offset))}`;
}
