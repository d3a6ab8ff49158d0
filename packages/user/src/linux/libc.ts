import { constants as osConstants, endianness } from "node:os";
import { getSystemErrorName } from "node:util";
import koffi from "koffi";

/**
 * The libc functions that Node does not offer, each declared once. What Node does offer (fstat, ftruncate,
 * unlink …) is used from node:fs. Pointers are bigints, or typed arrays that koffi passes without a copy.
 */

if (process.platform !== "linux") throw new Error("@vfiokit/user/linux: needs Linux");
// struct msghdr and friends are laid out by hand, for LP64 little-endian (x86-64, AArch64, RISC-V 64 …).
if (koffi.sizeof("void *") !== 8 || endianness() !== "LE")
  throw new Error(`@vfiokit/user/linux: needs a 64-bit little-endian machine, not ${process.arch}`);

export type Pointer = bigint | ArrayBufferView | null;

const lib = koffi.load(null);

export const libc = {
  close: lib.func("int close(int)") as (fd: number) => number,
  /** Variadic in C; with an integer argument its calling convention is that of a fixed one. */
  fcntl: lib.func("int fcntl(int, int, int)") as (fd: number, command: number, argument: number) => number,
  /** Variadic as well; with a pointer, too, its calling convention is that of a fixed one. */
  ioctl: lib.func("int ioctl(int, unsigned long, void *)") as (
    fd: number,
    request: number,
    argument: Pointer,
  ) => number,
  flock: lib.func("int flock(int, int)") as (fd: number, operation: number) => number,
  /** Variadic as well. */
  prctl: lib.func("int prctl(int, unsigned long)") as (option: number, argument: number) => number,
  read: lib.func("int64_t read(int, void *, size_t)") as (fd: number, into: Pointer, count: number) => number,
  write: lib.func("int64_t write(int, const void *, size_t)") as (
    fd: number,
    from: Pointer,
    count: number,
  ) => number,
  pread: lib.func("int64_t pread(int, void *, size_t, int64_t)") as (
    fd: number,
    into: Pointer,
    count: number,
    offset: number,
  ) => number,
  pwrite: lib.func("int64_t pwrite(int, const void *, size_t, int64_t)") as (
    fd: number,
    from: Pointer,
    count: number,
    offset: number,
  ) => number,

  socket: lib.func("int socket(int, int, int)") as (domain: number, type: number, protocol: number) => number,
  socketpair: lib.func("int socketpair(int, int, int, void *)") as (
    domain: number,
    type: number,
    protocol: number,
    into: Int32Array,
  ) => number,
  bind: lib.func("int bind(int, const void *, uint32_t)") as (
    fd: number,
    address: Uint8Array,
    length: number,
  ) => number,
  listen: lib.func("int listen(int, int)") as (fd: number, backlog: number) => number,
  connect: lib.func("int connect(int, const void *, uint32_t)") as (
    fd: number,
    address: Uint8Array,
    length: number,
  ) => number,
  accept4: lib.func("int accept4(int, void *, void *, int)") as (
    fd: number,
    address: null,
    length: null,
    flags: number,
  ) => number,
  shutdown: lib.func("int shutdown(int, int)") as (fd: number, how: number) => number,
  setsockopt: lib.func("int setsockopt(int, int, int, const void *, int)") as (
    fd: number,
    level: number,
    option: number,
    value: Int32Array,
    length: number,
  ) => number,
  getsockopt: lib.func("int getsockopt(int, int, int, void *, void *)") as (
    fd: number,
    level: number,
    option: number,
    into: Int32Array,
    length: Uint32Array,
  ) => number,
  sendmsg: lib.func("int64_t sendmsg(int, const void *, int)") as (
    fd: number,
    message: Pointer,
    flags: number,
  ) => number,
  recvmsg: lib.func("int64_t recvmsg(int, void *, int)") as (
    fd: number,
    message: Pointer,
    flags: number,
  ) => number,

  memfdCreate: lib.func("int memfd_create(const char *, uint32_t)") as (
    name: string,
    flags: number,
  ) => number,
  mmap: lib.func("void *mmap(void *, size_t, int, int, int, int64_t)") as (
    address: null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => bigint,
  munmap: lib.func("int munmap(void *, size_t)") as (address: bigint, length: number) => number,

  eventfd: lib.func("int eventfd(uint32_t, int)") as (initial: number, flags: number) => number,
  epollCreate: lib.func("int epoll_create1(int)") as (flags: number) => number,
  epollCtl: lib.func("int epoll_ctl(int, int, int, void *)") as (
    epoll: number,
    operation: number,
    fd: number,
    event: Uint8Array | null,
  ) => number,
  epollWait: lib.func("int epoll_wait(int, void *, int, int)") as (
    epoll: number,
    events: Pointer,
    count: number,
    timeoutMs: number,
  ) => number,
  poll: lib.func("int poll(void *, unsigned long, int)") as (
    fds: Pointer,
    count: number,
    timeoutMs: number,
  ) => number,
  clockGettime: lib.func("int clock_gettime(int, void *)") as (clock: number, into: Pointer) => number,
  schedYield: lib.func("int sched_yield()") as () => number,

  posixOpenpt: lib.func("int posix_openpt(int)") as (flags: number) => number,
  grantpt: lib.func("int grantpt(int)") as (fd: number) => number,
  unlockpt: lib.func("int unlockpt(int)") as (fd: number) => number,
  ptsname: lib.func("int ptsname_r(int, void *, size_t)") as (
    fd: number,
    into: Uint8Array,
    length: number,
  ) => number,
  tcgetattr: lib.func("int tcgetattr(int, void *)") as (fd: number, into: Uint8Array) => number,
  tcsetattr: lib.func("int tcsetattr(int, int, const void *)") as (
    fd: number,
    when: number,
    from: Uint8Array,
  ) => number,
  cfmakeraw: lib.func("void cfmakeraw(void *)") as (termios: Uint8Array) => void,
} as const;

/** The errno of the last libc call of this thread. Valid until the next one. */
export const errno = (): number => koffi.errno();

export const EAGAIN = osConstants.errno.EAGAIN;
export const EINTR = osConstants.errno.EINTR;

/** A system call that failed. Shaped like the errors of node:fs. */
export class SyscallError extends Error {
  override readonly name = "SyscallError";
  /** "ENOENT" */
  readonly code: string;

  constructor(
    readonly syscall: string,
    readonly errno: number,
    detail?: string,
  ) {
    const code = getSystemErrorName(-errno);
    super(detail === undefined ? `${syscall}: ${code}` : `${syscall}: ${code}: ${detail}`);
    this.code = code;
  }
}

/** Passes on a result that is not negative. @throws SyscallError with the errno of the call before. */
export function check(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw new SyscallError(syscall, koffi.errno(), detail);
  return result;
}
