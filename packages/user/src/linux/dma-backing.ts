import { fstatSync, readFileSync, statfsSync } from "node:fs";
import { VfioError } from "@vfiokit/core";
import type { DmaBacking } from "@vfiokit/core/host";
import type { Fd } from "./fd.js";
import { errno, libc } from "./libc.js";
import { isSealedAgainstShrinking } from "./memfd.js";
import { canMap, Mapping, requireFile } from "./mapping.js";
import { getSystemErrorName } from "node:util";

/** statfs(2) */
const HUGETLBFS_MAGIC = 0x958458f6;

/**
 * How a client's memory is accessed. "mmap" is fast, but a client that shrinks an unsealed file afterwards ends this
 * process with SIGBUS; "file" copies with pread and pwrite, where the same is an error of that one access; "auto" maps
 * only files that are sealed against shrinking.
 */
export const dmaAccessModes = ["auto", "mmap", "file"] as const;
/** How a device reaches its client's memory: `serve --dma-access`. */
export type DmaAccessMode = (typeof dmaAccessModes)[number];

/** Files that may be open for DMA: half of the descriptors of this process. Sockets and eventfds need theirs. */
const MAX_FILES = Math.floor(descriptorLimit() / 2);

function descriptorLimit(): number {
  try {
    const limit = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
    return limit ? Number(limit[1]) : 1024;
  } catch {
    return 1024;
  }
}

/** Which part of a file backs a map, and how it is reached. */
export interface BackingOptions {
  /** Bytes into the file; a multiple of 4096. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  readonly writable: boolean;
  readonly access: DmaAccessMode;
}

/**
 * The client's memory behind a descriptor. Takes `fd`, whether it succeeds or not.
 *
 * @throws VfioError EINVAL for a file that cannot hold the range; SyscallError from mmap
 */
export function createBacking(fd: Fd, options: BackingOptions): DmaBacking {
  const { offset, length, writable } = options;
  const mapped = options.access === "mmap" || (options.access === "auto" && isSealedAgainstShrinking(fd));
  // More than can be mapped: correct, if slower.
  if (!mapped || !canMap(length)) {
    try {
      requireFile(fd, offset, length, writable);
      requirePwrite(fd);
      return new FileBacking(SharedFile.of(fd), offset, length);
    } catch (error) {
      fd.close();
      throw error;
    }
  }
  using file = fd;
  return new MappedBacking(Mapping.ofFile(file, { offset, length, writable }));
}

class MappedBacking implements DmaBacking {
  readonly #mapping: Mapping;

  constructor(mapping: Mapping) {
    this.#mapping = mapping;
  }

  get bytes(): Uint8Array {
    return this.#mapping.bytes;
  }

  read(offset: number, into: Uint8Array): void {
    requireInside(offset, into.length, this.bytes.length);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  write(offset: number, from: Uint8Array): void {
    requireInside(offset, from.length, this.bytes.length);
    this.bytes.set(from, offset);
  }

  release(): void {
    this.#mapping[Symbol.dispose]();
  }
}

/**
 * A descriptor that all maps of a file share: a client with an IOMMU maps its memory page by page, and a process has
 * fewer descriptors than a client has pages.
 */
class SharedFile {
  static readonly #open = new Map<string, SharedFile>();
  #users = 0;

  private constructor(
    private readonly key: string,
    readonly fd: Fd,
  ) {}

  /** Takes `fd`, unless it throws. @throws VfioError ENOSPC: no more descriptors for files */
  static of(fd: Fd): SharedFile {
    const { dev, ino } = fstatSync(fd.number);
    // The kernel looks at the flags in each pread and pwrite: O_RDONLY, O_APPEND.
    const key = `${dev}:${ino}:${fd.statusFlags}`;
    let file = SharedFile.#open.get(key);
    if (file) {
      fd.close();
    } else {
      if (SharedFile.#open.size >= MAX_FILES)
        throw new VfioError(
          "ENOSPC",
          `${MAX_FILES} files are in use for DMA, half of what this process may open`,
        );
      file = new SharedFile(key, fd);
      SharedFile.#open.set(key, file);
    }
    file.#users++;
    return file;
  }

  release(): void {
    if (--this.#users > 0) return;
    SharedFile.#open.delete(this.key);
    this.fd.close();
  }
}

class FileBacking implements DmaBacking {
  readonly bytes = undefined;
  private readonly fd: Fd;

  constructor(
    private readonly file: SharedFile,
    private readonly start: number,
    private readonly length: number,
  ) {
    this.fd = file.fd;
  }

  read(offset: number, into: Uint8Array): void {
    requireInside(offset, into.length, this.length);
    for (let done = 0; done < into.length;) {
      const rest = into.subarray(done);
      done += this.#moved(libc.pread(this.fd.number, rest, rest.length, this.start + offset + done));
    }
  }

  write(offset: number, from: Uint8Array): void {
    requireInside(offset, from.length, this.length);
    for (let done = 0; done < from.length;) {
      const rest = from.subarray(done);
      done += this.#moved(libc.pwrite(this.fd.number, rest, rest.length, this.start + offset + done));
    }
  }

  release(): void {
    this.file.release();
  }

  #moved(count: number): number {
    if (count < 0) throw new VfioError("EIO", `the client's memory: ${getSystemErrorName(-errno())}`);
    if (count === 0) throw new VfioError("EFAULT", "the client's memory: its file has become shorter");
    return count;
  }
}

function requireInside(offset: number, count: number, length: number): void {
  if (offset < 0 || offset + count > length)
    throw new VfioError("EFAULT", `${count} bytes at ${offset}: the map has ${length} bytes`);
}

/** @throws VfioError EINVAL: files of hugetlbfs can be mapped only */
function requirePwrite(fd: Fd): void {
  if (statfsSync(`/proc/self/fd/${fd.number}`).type !== HUGETLBFS_MAGIC) return;
  throw new VfioError(
    "EINVAL",
    "the client's memory is of hugetlbfs, which pwrite cannot write: it has to be sealed against shrinking, or the " +
      "server told to map it (--dma-access mmap)",
  );
}
