import { Fd } from "./fd.js";
import { EAGAIN, EINTR, errno, libc, SyscallError } from "./libc.js";
import { StableBuffer } from "./stable-buffer.js";

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MSG_CTRUNC = 0x8;

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** The kernel passes at most this many descriptors with one message (SCM_MAX_FD). */
export const MAX_FDS_PER_MESSAGE = 253;

/** struct msghdr, LP64. */
const MSGHDR_BYTES = 56;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
/** struct cmsghdr: size_t length, int level, int type, then the data. */
const CMSG_HEADER_BYTES = 16;
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
const FD_BYTES = 4;
const CONTROL_BYTES = align(CMSG_HEADER_BYTES + MAX_FDS_PER_MESSAGE * FD_BYTES);

/** struct iovec: base, length. */
const IOVEC_BYTES = 16;

function align(bytes: number): number {
  return (bytes + 7) & ~7;
}

/** `receive`'s result when nothing has arrived. */
export const WOULD_BLOCK = -1;

/** A msghdr with one iovec and room for control data, at addresses that stay. */
class MessageHeader {
  readonly #memory = new StableBuffer(MSGHDR_BYTES + IOVEC_BYTES + CONTROL_BYTES);
  readonly view = this.#memory.view;
  readonly control = new DataView(this.view.buffer, MSGHDR_BYTES + IOVEC_BYTES);
  readonly address = this.#memory.address;

  constructor() {
    this.view.setBigUint64(MSG_IOV, this.address + BigInt(MSGHDR_BYTES), true);
    this.view.setBigUint64(MSG_IOVLEN, 1n, true);
    this.view.setBigUint64(MSG_CONTROL, this.address + BigInt(MSGHDR_BYTES + IOVEC_BYTES), true);
  }

  /** The bytes to move: `length` at `address`, given in halves since a bigint for each call would be garbage. */
  setBytes(addressLow: number, addressHigh: number, length: number): void {
    this.view.setUint32(MSGHDR_BYTES, addressLow, true);
    this.view.setUint32(MSGHDR_BYTES + 4, addressHigh, true);
    this.view.setUint32(MSGHDR_BYTES + 8, length, true);
  }

  setControlLength(bytes: number): void {
    this.view.setUint32(MSG_CONTROLLEN, bytes, true);
  }

  controlLength(): number {
    return this.view.getUint32(MSG_CONTROLLEN, true);
  }
}

/** Receives from one stream socket: bytes into a buffer of the caller, descriptors into a list. */
export class Receiver {
  readonly #header = new MessageHeader();
  #fds: Fd[] = [];
  #truncated = false;

  constructor(private readonly buffer: StableBuffer) {}

  /**
   * Receives up to `length` bytes to `offset` without waiting. The kernel ends a call behind a piece that
   * carries descriptors, so they belong to the message that holds the last byte received.
   *
   * @returns the number of bytes; 0 at the end of the stream; WOULD_BLOCK
   * @throws SyscallError ECONNRESET …
   */
  receive(fd: Fd, offset: number, length: number): number {
    const header = this.#header;
    this.buffer.point(header, offset, length);
    header.setControlLength(CONTROL_BYTES);
    const count = libc.recvmsg(fd.number, header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0) {
      const error = errno();
      if (error === EAGAIN || error === EINTR) return WOULD_BLOCK;
      throw new SyscallError("recvmsg", error);
    }
    if (header.controlLength() !== 0) this.#takeFds();
    // Also set when a descriptor did not fit into this process's table, with no control data at all.
    if (header.view.getUint32(MSG_FLAGS, true) & MSG_CTRUNC) this.#truncated = true;
    return count;
  }

  get hasFds(): boolean {
    return this.#fds.length > 0 || this.#truncated;
  }

  /** Hands over what has arrived since the last time; `truncated`: some were lost on the way. */
  takeFds(): { fds: Fd[]; truncated: boolean } {
    const taken = { fds: this.#fds, truncated: this.#truncated };
    this.#fds = [];
    this.#truncated = false;
    return taken;
  }

  /** Closes what nobody took. */
  close(): void {
    for (const fd of this.takeFds().fds) fd.close();
  }

  #takeFds(): void {
    const { control } = this.#header;
    const end = this.#header.controlLength();
    for (let at = 0; at + CMSG_HEADER_BYTES <= end;) {
      const length = control.getUint32(at, true);
      if (length < CMSG_HEADER_BYTES) break;
      const isRights =
        control.getInt32(at + CMSG_LEVEL, true) === SOL_SOCKET &&
        control.getInt32(at + CMSG_TYPE, true) === SCM_RIGHTS;
      for (let data = at + CMSG_HEADER_BYTES; isRights && data + FD_BYTES <= at + length; data += FD_BYTES)
        this.#fds.push(new Fd(control.getInt32(data, true)));
      at += align(length);
    }
  }
}

const sendHeader = new MessageHeader();

/**
 * Sends a part of `buffer` without waiting, with descriptors if there are any (they stay the caller's).
 *
 * @returns how many bytes were taken; WOULD_BLOCK when none. Descriptors went along if any byte did.
 * @throws SyscallError EPIPE, ECONNRESET …
 */
export function sendBytes(
  fd: Fd,
  buffer: StableBuffer,
  offset: number,
  length: number,
  fds: readonly number[] = NO_FDS,
): number {
  if (fds.length > MAX_FDS_PER_MESSAGE) throw new RangeError(`${fds.length} descriptors in one message`);
  const header = sendHeader;
  buffer.point(header, offset, length);
  header.setControlLength(fds.length === 0 ? 0 : writeRights(header.control, fds));
  const count = libc.sendmsg(fd.number, header.address, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count >= 0) return count;
  const error = errno();
  if (error === EAGAIN || error === EINTR) return WOULD_BLOCK;
  throw new SyscallError("sendmsg", error);
}

const NO_FDS: readonly number[] = [];

function writeRights(control: DataView, fds: readonly number[]): number {
  const length = CMSG_HEADER_BYTES + fds.length * FD_BYTES;
  control.setBigUint64(0, BigInt(length), true);
  control.setInt32(CMSG_LEVEL, SOL_SOCKET, true);
  control.setInt32(CMSG_TYPE, SCM_RIGHTS, true);
  for (let i = 0; i < fds.length; i++) control.setInt32(CMSG_HEADER_BYTES + i * FD_BYTES, fds[i]!, true);
  return align(length);
}
