import { RwSemaphore, Task } from "@vfiokit/lockdep";
import { VfioError } from "../errno.js";
import type { ClientMemory, DmaBacking, ReadonlyBytes } from "../memory.js";
import { DirtyLog } from "./dirty-log.js";
import {
  alignmentOf,
  checkAccess,
  checkRange,
  DEFAULT_MAX_MAPS,
  type DmaLimits,
  type DmaMapRequest,
} from "./map-request.js";
import { MapTable, type DmaMap } from "./map-table.js";
import { allows, copy, copyPiece, exchange, split } from "./transfer.js";
import { PAGE_SIZE, frameOf, offsetOf, type DmaAddress } from "./page.js";

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
  /** PCI 3.0 §6.2.2, Bus Master: while it is 0 the device does no DMA. Its configuration space decides. */
  busMaster = true;

  readonly #table: MapTable;
  readonly #alignment: bigint;
  /** Owner of the lock in accesses that complete at once; those that wait have a task of their own. */
  readonly #task = new Task("dma");

  constructor(limits: DmaLimits = {}) {
    this.#table = new MapTable(limits.maxMaps ?? DEFAULT_MAX_MAPS);
    this.#alignment = alignmentOf(limits);
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
      checkRange(request.address, request.size, this.#alignment);
      checkAccess(request);
      const wait = this.mmapLock.downWrite(task);
      if (wait) return this.#mapLater(task, wait, request);
    } catch (error) {
      backing?.release();
      throw error;
    }
    return this.#mapLocked(task, request);
  }

  /**
   * VFIO_USER_DMA_UNMAP of a range that is exactly one map or covers several whole ones (QEMU with an IOMMU
   * unmaps by large ranges).
   * @param exact only exactly one map
   * @throws VfioError EINVAL: zero size, no alignment, wrap; one map reaches out of the range, or `exact`; ENOENT: no
   *   map there (or rejects, if it had to wait for mmapLock)
   */
  unmap(task: Task, address: bigint, size: bigint, exact = false): void | Promise<void> {
    checkRange(address, size, this.#alignment);
    const wait = this.mmapLock.downWrite(task);
    if (wait) return wait.then(() => this.#unmapLocked(task, address, size, exact));
    this.#unmapLocked(task, address, size, exact);
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
   * @param task who does it, where that task holds locks: mmapLock is then taken on its behalf, and a promise returned
   * @throws VfioError EFAULT: not mapped; EACCES: not readable, or Bus Master Enable is 0 (or rejects, where a promise
   *   is returned)
   */
  read(address: DmaAddress, into: Uint8Array, task?: Task): void | Promise<void> {
    return this.#transfer(address, into, false, task);
  }

  /**
   * DMA to the client's memory, as `read`. Logged as dirty.
   * @throws VfioError EFAULT: not mapped; EACCES: not writable (or rejects, where a promise is returned)
   */
  write(address: DmaAddress, from: Uint8Array, task?: Task): void | Promise<void> {
    return this.#transfer(address, from, true, task);
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
    if (!this.busMaster) return undefined;
    const frame = frameOf(address);
    const map = this.#table.at(this.#table.find(frame));
    if (!map?.bytes || !allows(map, write)) return undefined;
    const start = (frame - map.first) * PAGE_SIZE + offsetOf(address);
    if (start + size > map.bytes.length) return undefined;
    return map.bytes.subarray(start, start + size);
  }

  #transfer(
    address: DmaAddress,
    buffer: Uint8Array,
    write: boolean,
    task: Task | undefined,
  ): void | Promise<void> {
    if (buffer.length === 0) return;
    const frame = frameOf(address);
    const offset = offsetOf(address);
    // Fails behind a waiting map or unmap, too.
    if (task || !this.mmapLock.tryDownRead(this.#task)) {
      return this.#transferLater(frame, offset, buffer, write, task);
    }
    let done;
    try {
      done = this.#transferNow(frame, offset, buffer, write);
    } finally {
      this.mmapLock.upRead(this.#task);
    }
    if (!done) return this.#transferLater(frame, offset, buffer, write);
  }

  /** Under mmapLock. @returns false, with nothing transferred, if messages are needed */
  #transferNow(frame: number, offset: number, buffer: Uint8Array, write: boolean): boolean {
    this.#assertBusMaster(write);
    const map = this.#table.at(this.#table.find(frame));
    if (map?.backing && allows(map, write)) {
      const start = (frame - map.first) * PAGE_SIZE + offset;
      // Nearly every access lies in one map.
      if (start + buffer.length <= (map.end - map.first) * PAGE_SIZE) {
        if (write) this.#logWrite(frame, offset, buffer.length);
        copy(map, start, buffer, write);
        return true;
      }
    }
    const pieces = split(this.#table, frame, offset, buffer, write);
    if (pieces.some((piece) => !piece.map.backing)) return false;
    if (write) this.#logWrite(frame, offset, buffer.length);
    for (const piece of pieces) copyPiece(piece, write);
    return true;
  }

  /** With a lock to wait for or messages to exchange. The lock is held until all is transferred. */
  async #transferLater(
    frame: number,
    offset: number,
    buffer: Uint8Array,
    write: boolean,
    task = new Task(write ? "dma write" : "dma read"),
  ): Promise<void> {
    const wait = this.mmapLock.downRead(task);
    if (wait) await wait;
    try {
      this.#assertBusMaster(write);
      const pieces = split(this.#table, frame, offset, buffer, write);
      try {
        for (const piece of pieces) {
          // It may have been switched off while this waited.
          this.#assertBusMaster(write);
          if (piece.map.backing) copyPiece(piece, write);
          else await exchange(piece, this.clientMemory, write);
        }
      } finally {
        // After the client has written: a report in between would clear the bit before the page changes.
        if (write) this.#logWrite(frame, offset, buffer.length);
      }
    } finally {
      this.mmapLock.upRead(task);
    }
  }

  /** @throws VfioError EACCES */
  #assertBusMaster(write: boolean): void {
    if (this.busMaster) return;
    throw new VfioError("EACCES", `DMA ${write ? "write" : "read"}: Bus Master Enable is 0`);
  }

  #logWrite(frame: number, offset: number, size: number): void {
    if (this.dirtyLog.active)
      this.dirtyLog.mark(frame, frame + Math.floor((offset + size - 1) / PAGE_SIZE) + 1);
  }

  async #mapLater(task: Task, wait: Promise<void>, request: DmaMapRequest): Promise<void> {
    try {
      await wait;
    } catch (error) {
      request.backing?.release();
      throw error;
    }
    await this.#mapLocked(task, request);
  }

  #mapLocked(task: Task, request: DmaMapRequest): void | Promise<void> {
    const { backing } = request;
    if (backing?.pin) return this.#pinAndMap(task, request, backing);
    try {
      this.#add(request);
    } catch (error) {
      backing?.release();
      throw error;
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  async #pinAndMap(task: Task, request: DmaMapRequest, backing: DmaBacking): Promise<void> {
    try {
      await backing.pin?.(task);
      this.#add(request);
    } catch (error) {
      backing.release();
      throw error;
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  #add({ address, size, readable, writable, backing }: DmaMapRequest): void {
    const first = frameOf(address);
    const end = frameOf(address + size);
    this.#table.add({ first, end, readable, writable, backing, bytes: backing?.bytes });
  }

  #unmapLocked(task: Task, address: bigint, size: bigint, exact: boolean): void {
    try {
      release(this.#table.remove(frameOf(address), frameOf(address + size), exact));
    } finally {
      this.mmapLock.upWrite(task);
    }
  }

  #unmapAllLocked(task: Task): void {
    try {
      release(this.#table.removeAll());
    } finally {
      this.mmapLock.upWrite(task);
    }
  }
}

function release(maps: readonly DmaMap[]): void {
  for (const map of maps) map.backing?.release();
}
