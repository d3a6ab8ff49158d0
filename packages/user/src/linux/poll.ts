import type { Fd } from "./fd.js";
import { addressOf, libc } from "./libc.js";

const POLLOUT = 0x4;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/** struct pollfd: int fd, short events, short revents. */
const pollfd = new DataView(new ArrayBuffer(8));
const address = addressOf(new Uint8Array(pollfd.buffer));

/** Which of `events` hold for `fd` now; ERR and HUP are reported unasked. */
function pollNow(fd: Fd, events: number): number {
  pollfd.setInt32(0, fd.number, true);
  pollfd.setInt16(4, events, true);
  return libc.poll(address, 1, 0) === 1 ? pollfd.getUint16(6, true) : 0;
}

/** Whether a write would not block. */
export function isWritable(fd: Fd): boolean {
  return (pollNow(fd, POLLOUT) & POLLOUT) !== 0;
}

/** Whether the peer of a socket has closed it, whatever it left to read. */
export function hasHungUp(fd: Fd): boolean {
  return (pollNow(fd, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) !== 0;
}
