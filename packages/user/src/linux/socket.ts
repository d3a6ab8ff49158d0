import { lstatSync, unlinkSync, fchmodSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { dirname } from "node:path";
import { Fd } from "./fd.js";
import { withFolderLocked } from "./folder-lock.js";
import { check, EAGAIN, errno, libc, SyscallError } from "./libc.js";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_SNDBUF = 7;
const SHUT_RDWR = 2;

/**
 * Room for a whole message of an image, and the start of the next: with the default of 208 KiB its sender waits for the
 * receiver several times a message. The kernel gives no more than net.core.wmem_max.
 */
const SEND_BUFFER_BYTES = Int32Array.of(2 * 1024 * 1024);

/** sizeof(sockaddr_un.sun_path), the terminating zero included. */
const SUN_PATH_BYTES = 108;
const SUN_PATH_OFFSET = 2;

const { EADDRINUSE, ECONNREFUSED, ENOENT, ENAMETOOLONG, ECONNABORTED } = osConstants.errno;

/** A listening socket in the file system. */
export class UnixListener implements Disposable {
  readonly fd: Fd;
  readonly path: string;
  readonly #inode: number;

  /**
   * Listens at `path`, as a socket that only this user may connect to (mode 0600). A socket that a dead server
   * left there is replaced; anything else is not touched.
   *
   * @throws SyscallError EADDRINUSE: somebody listens there, or it is no socket; ENAMETOOLONG; EACCES …
   */
  constructor(path: string, backlog = 16) {
    const address = unixAddress(path);
    this.path = path;
    this.fd = unixSocket();
    try {
      // bind gives the file the mode of the socket's own inode, so there is no moment with another mode.
      fchmodSync(this.fd.number, 0o600);
      // Until it listens, others take it for a dead one: two servers that start at once would both replace the same.
      this.#inode = withFolderLocked(dirname(path), () => {
        removeStaleSocket(path);
        check(libc.bind(this.fd.number, address, address.length), "bind", path);
        const { ino } = lstatSync(path);
        check(libc.listen(this.fd.number, backlog), "listen", path);
        return ino;
      });
    } catch (error) {
      this.fd.close();
      throw error;
    }
  }

  /** The next connection, non-blocking; undefined when nobody waits. */
  accept(): Fd | undefined {
    const number = libc.accept4(this.fd.number, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (number >= 0) return withSendBuffer(new Fd(number));
    const error = errno();
    if (error === EAGAIN || error === ECONNABORTED) return undefined;
    throw new SyscallError("accept4", error, this.path);
  }

  /** Stops listening and removes the file, unless somebody else has put another there. */
  close(): void {
    if (this.fd.closed) return;
    try {
      if (lstatSync(this.path, { throwIfNoEntry: false })?.ino === this.#inode) unlinkSync(this.path);
    } catch {
      // A dead socket is left, which the next server at this path replaces.
    }
    this.fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** @throws SyscallError ENOENT, ECONNREFUSED (nobody listens), EAGAIN (the backlog is full), EACCES … */
export function connectUnix(path: string): Fd {
  const address = unixAddress(path);
  const fd = unixSocket();
  if (libc.connect(fd.number, address, address.length) === 0) return fd;
  const failure = new SyscallError("connect", errno(), path);
  fd.close();
  throw failure;
}

/** Whether a `connectUnix` failed because nobody serves that socket. */
export function nobodyListens(error: unknown): error is SyscallError {
  return error instanceof SyscallError && (error.errno === ENOENT || error.errno === ECONNREFUSED);
}

/** Two connected sockets, non-blocking. */
export function socketPair(): [Fd, Fd] {
  const pair = new Int32Array(2);
  check(libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), "socketpair");
  return [new Fd(pair[0]!), new Fd(pair[1]!)];
}

/** Ends both directions: the peer reads the end of the stream. */
export function shutdownSocket(fd: Fd): void {
  libc.shutdown(fd.number, SHUT_RDWR);
}

/** SO_PEERCRED: who is at the other end. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who connected, as the kernel recorded it at that time. @throws SyscallError ENOTSOCK … */
export function peerCredentials(fd: Fd): PeerCredentials {
  const credentials = new Int32Array(3);
  const length = new Uint32Array([credentials.byteLength]);
  check(libc.getsockopt(fd.number, SOL_SOCKET, SO_PEERCRED, credentials, length), "getsockopt(SO_PEERCRED)");
  const [pid, uid, gid] = credentials;
  return { pid: pid!, uid: uid! >>> 0, gid: gid! >>> 0 };
}

function unixSocket(): Fd {
  return withSendBuffer(
    new Fd(check(libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket")),
  );
}

/** Without success it is slower. */
function withSendBuffer(fd: Fd): Fd {
  libc.setsockopt(fd.number, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES, SEND_BUFFER_BYTES.byteLength);
  return fd;
}

/** struct sockaddr_un. */
function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.includes(0)) throw new SyscallError("bind", ENOENT, JSON.stringify(path));
  if (name.length >= SUN_PATH_BYTES) {
    const limit = `${path} has ${name.length} bytes, a socket's path at most ${SUN_PATH_BYTES - 1}`;
    throw new SyscallError("bind", ENAMETOOLONG, limit);
  }
  const address = new Uint8Array(SUN_PATH_OFFSET + name.length + 1);
  address[0] = AF_UNIX;
  address.set(name, SUN_PATH_OFFSET);
  return address;
}

function removeStaleSocket(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw new SyscallError("bind", EADDRINUSE, `${path} exists and is no socket`);
  try {
    connectUnix(path).close();
  } catch (error) {
    if (error instanceof SyscallError && error.errno === ECONNREFUSED) {
      unlinkSync(path);
      return;
    }
    if (error instanceof SyscallError && error.errno === ENOENT) return;
    throw new SyscallError("bind", EADDRINUSE, `${path}: ${String(error)}`);
  }
  throw new SyscallError("bind", EADDRINUSE, `${path}: another server listens there`);
}
