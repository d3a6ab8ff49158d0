import { statfsSync } from "node:fs";
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
export type DmaAccessMode = (typeof dmaAccessModes)[number];

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
    } catch (error) {
      fd.close();
      throw error;
    }
    return new FileBacking(fd, offset, length);
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

class FileBacking implements DmaBacking {
  readonly bytes = undefined;

  constructor(
    private readonly fd: Fd,
    private readonly start: number,
    private readonly length: number,
  ) {}

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
    this.fd.close();
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
