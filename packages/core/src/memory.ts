import type { Task } from "@vfiokit/lockdep";

/**
 * Memory as the core sees it. The core makes no system calls: whoever embeds it (packages/user, a test)
 * provides memory through these interfaces.
 */

/** Memory of the device that a client may map: a memory-like BAR. */
export interface SharedMemory extends Disposable {
  /** The whole of it; detached (length 0) after disposal. */
  readonly bytes: Uint8Array;
  /** A descriptor that a client can mmap; undefined where the memory cannot be shared. */
  readonly fd: number | undefined;
}

/** Where the memory of a device's memory BARs comes from. */
export interface MemoryProvider {
  /** Zeroed memory of `size` bytes; `name` shows up in /proc/PID/maps. */
  allocate(name: string, size: number): SharedMemory;
}

/** Memory of this process only: for tests, and for BARs that nobody maps. */
export const heapMemory: MemoryProvider = {
  allocate(_name, size) {
    return { bytes: new Uint8Array(size), fd: undefined, [Symbol.dispose]: () => undefined };
  },
};

/** The client's memory behind one DMA map: a mapped view, or a file that is read and written. */
export interface DmaBacking {
  /** The mapped bytes, where the memory is mapped: element 0 is the map's first byte. */
  readonly bytes: Uint8Array | undefined;
  /** @throws VfioError EFAULT, EIO */
  read(offset: number, into: Uint8Array): void;
  /** @throws VfioError EFAULT, EIO */
  write(offset: number, from: Uint8Array): void;
  /**
   * Makes the memory stay where it is, before it is mapped and under mmapLock (Linux: vfio_pin_dma). For memory that
   * can be taken away, as a BAR of another device can. @throws VfioError EFAULT, EIO: and there is no map
   */
  pin?(task: Task): void | Promise<void>;
  /** Unmaps and closes. Called once, when the map is gone. */
  release(): void;
}

/** The client's memory reached by messages (VFIO_USER_DMA_READ and WRITE): for maps without a descriptor. */
export interface ClientMemory {
  read(address: bigint, into: Uint8Array): Promise<void>;
  write(address: bigint, from: Uint8Array): Promise<void>;
}

/** Bytes that are only read: writing through them would not be logged, and may hit memory mapped read-only. */
export type ReadonlyBytes = Omit<
  Uint8Array,
  number | "set" | "fill" | "copyWithin" | "reverse" | "sort" | "subarray"
> & {
  readonly [index: number]: number;
  subarray(begin?: number, end?: number): ReadonlyBytes;
};
