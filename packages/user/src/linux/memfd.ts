import { ftruncateSync } from "node:fs";
import { VfioError, type MemoryProvider } from "@vfiokit/core";
import type { SharedMemory } from "@vfiokit/core/host";
import { Fd } from "./fd.js";
import { check, libc } from "./libc.js";
import { Mapping } from "./mapping.js";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

/** What can no longer be done to a memfd (fcntl(2), F_ADD_SEALS). */
export const Seal = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16 } as const;

/**
 * An anonymous file of `size` zero bytes, fixed in size for good unless `seals` says otherwise.
 * @throws VfioError EINVAL for a size that is none; SyscallError EMFILE, ENOMEM …
 */
export function createMemfd(name: string, size: number, seals = Seal.SHRINK | Seal.GROW | Seal.SEAL): Fd {
  // ftruncateSync takes a negative size for 0.
  if (!Number.isSafeInteger(size) || size < 0)
    throw new VfioError("EINVAL", `memfd ${name} of ${size} bytes`);
  const fd = new Fd(check(libc.memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
  try {
    ftruncateSync(fd.number, size);
    if (seals) check(libc.fcntl(fd.number, F_ADD_SEALS, seals), "fcntl(F_ADD_SEALS)");
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** Whether nobody can make the file shorter: a touch of its mapping is then never beyond its end (SIGBUS). */
export function isSealedAgainstShrinking(fd: Fd): boolean {
  // EINVAL of a file that cannot have seals.
  const seals = libc.fcntl(fd.number, F_GET_SEALS, 0);
  return seals >= 0 && (seals & Seal.SHRINK) !== 0;
}

/** Shared memory: a memfd, mapped. */
class MemfdMemory implements SharedMemory {
  readonly #fd: Fd;
  readonly #mapping: Mapping;

  constructor(name: string, size: number) {
    this.#fd = createMemfd(name, size);
    try {
      this.#mapping = Mapping.ofFile(this.#fd, { length: size, writable: true });
    } catch (error) {
      this.#fd.close();
      throw error;
    }
  }

  get bytes(): Uint8Array {
    return this.#mapping.bytes;
  }

  get fd(): number {
    return this.#fd.number;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#fd.close();
  }
}

/** Memory for BARs that clients can map. */
export const memfdMemory: MemoryProvider = {
  allocate: (name, size) => new MemfdMemory(name, size),
};
