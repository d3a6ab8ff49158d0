import type { Fd } from "./fd.js";
import { EAGAIN, EINTR, errno, libc, SyscallError } from "./libc.js";
import { WOULD_BLOCK } from "./message.js";

/** Reads what is there from a non-blocking descriptor: a count, 0 at the end, WOULD_BLOCK for nothing yet. */
export function readFd(fd: Fd, into: Uint8Array): number {
  return retry("read", () => libc.read(fd.number, into, into.length));
}

/** Writes what there is room for to a non-blocking descriptor: a count, or WOULD_BLOCK. @throws SyscallError */
export function writeFd(fd: Fd, from: Uint8Array): number {
  return retry("write", () => libc.write(fd.number, from, from.length));
}

function retry(syscall: string, call: () => number): number {
  for (;;) {
    const count = call();
    if (count >= 0) return count;
    const error = errno();
    if (error === EAGAIN) return WOULD_BLOCK;
    if (error !== EINTR) throw new SyscallError(syscall, error);
  }
}
