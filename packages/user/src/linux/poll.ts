import type { Fd } from "./fd.js";
import { libc } from "./libc.js";
import { StableBuffer } from "./stable-buffer.js";

const POLLIN = 0x1;
const POLLOUT = 0x4;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/** struct pollfd: int fd, short events, short revents. */
const pollfd = new StableBuffer(8);

/** Which of `events` hold for `fd` now; ERR and HUP are reported unasked. */
function pollNow(fd: { readonly number: number }, events: number): number {
  pollfd.view.setInt32(0, fd.number, true);
  pollfd.view.setInt16(4, events, true);
  return libc.poll(pollfd.address, 1, 0) === 1 ? pollfd.view.getUint16(6, true) : 0;
}

/** Whether a write would not block: of a pipe, one of up to 4096 bytes. */
export function isWritable(fd: { readonly number: number }): boolean {
  return (pollNow(fd, POLLOUT) & POLLOUT) !== 0;
}

/** Whether a read would not block. */
export function isReadable(fd: { readonly number: number }): boolean {
  return (pollNow(fd, POLLIN) & POLLIN) !== 0;
}

/** Whether the peer of a socket has closed it, whatever it left to read. */
export function hasHungUp(fd: Fd): boolean {
  return (pollNow(fd, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) !== 0;
}
