import { constants as bufferConstants } from "node:buffer";
import { fstatSync, readFileSync } from "node:fs";
import { VfioError } from "@vfiokit/core";
import koffi from "koffi";
import { detach } from "./detach.js";
import type { Fd } from "./fd.js";
import { errno, libc, SyscallError } from "./libc.js";

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_NORESERVE = 0x4000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

const O_PATH = 0o10000000;
const O_ACCMODE = 3;
const O_RDONLY = 0;
const O_WRONLY = 1;

const PAGE_SIZE = 4096;

/** The longest mapping that one Uint8Array can show, in bytes: 4 GiB with Node 20, and none that matters since Node 22. */
const MAX_VIEW = bufferConstants.MAX_LENGTH;

/**
 * Bytes that all mappings of this process may take together: an eighth of the addresses that Linux gives a
 * process on x86-64. A client may map a sparse file of any size, and as often as it likes: an engine that finds no addresses for
 * its own heap aborts the process.
 */
export const MAX_MAPPED = 2 ** 44;

/**
 * Mappings that this module makes at most. The kernel bounds those of a process (vm.max_map_count), an engine's heap
 * included, and V8 aborts with "out of memory" where it gets no more: a quarter is left to it.
 */
export const MAX_MAPPINGS = Math.floor((3 * mapCountLimit()) / 4);

function mapCountLimit(): number {
  try {
    return Number(readFileSync("/proc/sys/vm/max_map_count", "latin1"));
  } catch {
    return 65_530; // Linux's default
  }
}

let open = 0;
let mappedBytes = 0;

/** Whether there is room for one more mapping, of `length` bytes. */
export const canMap = (length: number): boolean =>
  length <= MAX_VIEW && mappedBytes + length <= MAX_MAPPED && open < MAX_MAPPINGS;

/** How many mappings this module owns at the moment. For leak tests. */
export const openMappings = (): number => open;

/** Which part of a file to map. */
export interface MapOptions {
  /** Bytes into the file; a multiple of 4096. */
  readonly offset?: number;
  /** Bytes; at least 1. */
  readonly length: number;
  /** Whether stores reach the file. Without it they are lost, and need no write permission on the file. */
  readonly writable: boolean;
}

/** A part of a file in memory (mmap). Disposal detaches every view first, so a late access cannot crash. */
export class Mapping implements Disposable {
  /** The mapped bytes; length 0 after disposal. */
  readonly bytes: Uint8Array;
  readonly #address: bigint;
  readonly #length: number;
  #mapped = true;

  private constructor(address: bigint, length: number, bytes: Uint8Array) {
    this.#address = address;
    this.#length = length;
    this.bytes = bytes;
    open++;
    mappedBytes += length;
  }

  /**
   * Maps a regular file, which may be closed afterwards.
   *
   * @throws VfioError EINVAL, when the file is shorter than the mapping (a touch beyond its end is SIGBUS), has
   *   no length at all, or `offset` is unaligned; ENOMEM, when no view can be that long, or `MAX_MAPPED` or
   *   `MAX_MAPPINGS` is reached.
   * @throws SyscallError from mmap
   */
  static ofFile(fd: Fd, { offset = 0, length, writable }: MapOptions): Mapping {
    requireFile(fd, offset, length, writable);
    if (!canMap(length))
      throw new VfioError(
        "ENOMEM",
        `a mapping of ${length} bytes: at most ${MAX_VIEW}, and ${MAX_MAPPED} together with the ${mappedBytes} there are in ${open} mappings, of which there are at most ${MAX_MAPPINGS}`,
      );
    // hugetlbfs maps whole huge pages only, and reports their size as the block size.
    const unit = Math.max(PAGE_SIZE, fstatSync(fd.number).blksize);
    const head = offset % unit;
    const mapped = Math.ceil((head + length) / unit) * unit;
    // A read-only mapping is private rather than PROT_READ, where a stray store would be SIGSEGV. Nobody
    // stores there, so no page is ever copied and all of them stay the file's.
    const flags = writable ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
    return Mapping.#map(fd, { offset: offset - head, mapped, head, length, flags });
  }

  /**
   * Maps a part of a device, such as a BAR, in whole pages. The kernel alone knows what can be mapped of it.
   * @throws SyscallError from mmap
   */
  static ofDevice(fd: Fd, { offset = 0, length }: MapOptions): Mapping {
    const mapped = Math.ceil(length / PAGE_SIZE) * PAGE_SIZE;
    return Mapping.#map(fd, { offset, mapped, head: 0, length, flags: MAP_SHARED });
  }

  static #map(
    fd: Fd,
    {
      offset,
      mapped,
      head,
      length,
      flags,
    }: Record<"offset" | "mapped" | "head" | "length" | "flags", number>,
  ): Mapping {
    const address = libc.mmap(null, mapped, PROT_READ | PROT_WRITE, flags, fd.number, offset);
    if (address === MAP_FAILED) throw new SyscallError("mmap", errno(), `${mapped} bytes at ${offset}`);
    const buffer = koffi.view(address + BigInt(head), length);
    return new Mapping(address, mapped, new Uint8Array(buffer));
  }

  /** Unmapping twice does nothing. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    detach(this.bytes.buffer as ArrayBuffer);
    libc.munmap(this.#address, this.#length);
    open--;
    mappedBytes -= this.#length;
  }
}

/** @throws VfioError EINVAL, unless `fd` is a regular file that holds `length` bytes at `offset`, and is open for them. */
export function requireFile(fd: Fd, offset: number, length: number, writable: boolean): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % PAGE_SIZE !== 0)
    throw new VfioError("EINVAL", `file offset ${offset}: no multiple of ${PAGE_SIZE}`);
  if (!Number.isSafeInteger(length) || length < 1)
    throw new VfioError("EINVAL", `mapping length ${length}: at least 1`);
  const stat = fstatSync(fd.number);
  requireAccess(fd, writable);
  if (!stat.isFile()) throw new VfioError("EINVAL", "the descriptor to map is no regular file");
  if (offset + length > stat.size)
    throw new VfioError(
      "EINVAL",
      `a mapping of ${length} bytes at ${offset}: the file has ${stat.size} bytes`,
    );
}

/**
 * mmap would refuse it with EACCES; pread and pwrite would do so at the device's first access, when nobody can be told.
 * @throws VfioError EINVAL: it is not open for reading, or not for writing where the device is to write
 */
function requireAccess(fd: Fd, writable: boolean): void {
  const flags = fd.statusFlags;
  const refuse = (how: string) =>
    new VfioError(
      "EINVAL",
      `the descriptor to map is open ${how}: the device needs O_RDWR, or O_RDONLY to read only`,
    );
  if (flags & O_PATH) throw refuse("with O_PATH, for no access at all");
  const mode = flags & O_ACCMODE;
  if (mode === O_WRONLY) throw refuse("for writing only");
  if (writable && mode === O_RDONLY) throw refuse("for reading only, and the device may write");
}
