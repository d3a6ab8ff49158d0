/**
 * Faults of system calls: the n-th call of one fails, in this process. The object that holds libc's functions is wrapped,
 * and the functions of node:fs that our code uses; what is shipped knows nothing of it.
 */

import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { constants } from "node:os";
import koffi from "koffi";
import { libc } from "../../packages/user/src/linux/libc.js";

type Call = (...args: never[]) => unknown;

/** A system call that can fail, and how, by its man page. */
interface Faulty {
  readonly errnos: readonly string[];
  /** Only with these arguments. */
  readonly when?: (args: readonly unknown[]) => boolean;
  /** It has its effect all the same: a descriptor is closed, whatever close says. */
  readonly effect?: true;
  readonly failure?: bigint;
}

const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const F_GETFL = 3;
const EPOLL_CTL_ADD = 1;
const noMore = ["EMFILE", "ENFILE", "ENOMEM"];

/** By the name in libc.ts. */
const inLibc: Partial<Record<keyof typeof libc, Faulty>> = {
  close: { errnos: ["EIO", "EINTR"], effect: true },
  // What F_GETFL can meet (EBADF) is a bug of ours, and not the system's.
  fcntl: { errnos: ["EMFILE", "EPERM", "EINVAL"], when: ([, command]) => command !== F_GETFL },
  flock: { errnos: ["ENOLCK", "EINTR"] },
  read: { errnos: ["EAGAIN", "EINTR", "ECONNRESET", "EIO"] },
  write: { errnos: ["EAGAIN", "EINTR", "EPIPE", "EIO"] },
  pread: { errnos: ["EIO", "EINTR"] },
  pwrite: { errnos: ["EIO", "ENOSPC", "EINTR"] },
  socket: { errnos: [...noMore, "ENOBUFS"] },
  socketpair: { errnos: [...noMore, "EOPNOTSUPP"] },
  bind: { errnos: ["EADDRINUSE", "EACCES", "ENOMEM", "EROFS"] },
  listen: { errnos: ["EADDRINUSE", "EOPNOTSUPP"] },
  connect: { errnos: ["ECONNREFUSED", "EAGAIN", "EACCES", "ENOENT"] },
  accept4: { errnos: [...noMore, "ECONNABORTED", "ENOBUFS", "EAGAIN", "EPERM"] },
  setsockopt: { errnos: ["ENOBUFS", "ENOMEM"] },
  getsockopt: { errnos: ["ENOBUFS", "ENOMEM"] },
  sendmsg: { errnos: ["EPIPE", "ENOBUFS", "ENOMEM", "ECONNRESET", "ETOOMANYREFS", "EAGAIN", "EINTR"] },
  recvmsg: { errnos: ["ECONNRESET", "ENOMEM", "EAGAIN", "EINTR"] },
  memfdCreate: { errnos: noMore },
  mmap: { errnos: ["ENOMEM", "EACCES", "EAGAIN", "ENODEV"], failure: MAP_FAILED },
  munmap: { errnos: ["ENOMEM", "EINVAL"], effect: true },
  eventfd: { errnos: [...noMore, "ENODEV"] },
  epollCreate: { errnos: noMore },
  epollCtl: { errnos: ["ENOMEM", "ENOSPC"], when: ([, operation]) => operation === EPOLL_CTL_ADD },
  epollWait: { errnos: ["EINTR"] },
  poll: { errnos: ["EINTR", "ENOMEM"] },
};

/** Of node:fs. */
const inFs: Partial<Record<keyof typeof fs, readonly string[]>> = {
  openSync: ["EMFILE", "EACCES"],
  fstatSync: ["EIO"],
  ftruncateSync: ["ENOSPC", "EFBIG", "EINTR"],
  fchmodSync: ["EPERM", "EIO"],
  lstatSync: ["EACCES", "ENOMEM"],
  readlinkSync: ["EACCES", "ENOMEM"],
  statfsSync: ["EIO", "ENOSYS"],
  unlinkSync: ["EACCES", "EROFS", "EBUSY"],
};
const inFsPromises = {
  open: ["EMFILE", "ENOSPC", "EACCES"],
  rename: ["EACCES", "ENOSPC", "EXDEV"],
  stat: ["EACCES"],
  lstat: ["EACCES"],
  realpath: ["EACCES"],
  rm: ["EACCES"],
} as const satisfies Partial<Record<keyof typeof fs.promises, readonly string[]>>;
/** Of what fs.promises.open gives. */
const inFileHandle = {
  write: ["ENOSPC", "EFBIG", "EIO"],
  read: ["EIO"],
  sync: ["EIO", "ENOSPC"],
  datasync: ["EIO"],
  stat: ["EIO"],
} as const satisfies Partial<Record<keyof fs.promises.FileHandle, readonly string[]>>;

/** The n-th call (from 0) of `call` fails with `errno`. */
export interface Fault {
  readonly call: string;
  readonly at: number;
  readonly errno: string;
}

const numberOf = (errno: string): number => (constants.errno as Readonly<Record<string, number>>)[errno]!;

/** Counts the calls of a process, and has one of them fail. While it is installed. */
export class Syscalls {
  /** Calls by name, since `reset`. */
  readonly counts = new Map<string, number>();
  /** Errors that a call can have, by its name. */
  readonly errnos = new Map<string, readonly string[]>();
  fault: Fault | undefined;
  /** The fault has happened. */
  struck = false;
  #counting = false;
  #restore: (() => void)[] = [];

  static async install(): Promise<Syscalls> {
    const syscalls = new Syscalls();
    await syscalls.#install();
    return syscalls;
  }

  uninstall(): void {
    for (const restore of this.#restore.splice(0)) restore();
    syncBuiltinESMExports();
  }

  /** Counts from here on, up to `stop`. */
  start(fault?: Fault): void {
    this.counts.clear();
    this.fault = fault;
    this.struck = false;
    this.#counting = true;
  }

  stop(): void {
    this.#counting = false;
  }

  async #install(): Promise<void> {
    for (const [name, faulty] of Object.entries(inLibc)) {
      this.errnos.set(name, faulty.errnos);
      this.#wrap(libc, name, (original, args) => {
        if (faulty.when && !faulty.when(args)) return original(...args);
        const errno = this.#next(name);
        if (errno === undefined) return original(...args);
        if (faulty.effect) original(...args);
        koffi.errno(numberOf(errno));
        return faulty.failure ?? -1;
      });
    }
    const thrown = (name: string, original: Call, args: never[]): unknown => {
      const errno = this.#next(name);
      if (errno !== undefined) throw injected(errno, name);
      return original(...args);
    };
    const rejected = (name: string, original: Call, args: never[]): unknown => {
      const errno = this.#next(name);
      return errno === undefined ? original(...args) : Promise.reject(injected(errno, name));
    };
    for (const [name, errnos] of Object.entries(inFs)) {
      this.errnos.set(name, errnos);
      this.#wrap(fs, name, (original, args) => thrown(name, original, args));
    }
    for (const [name, errnos] of Object.entries(inFsPromises)) {
      this.errnos.set(`promises.${name}`, errnos);
      this.#wrap(fs.promises, name, (original, args) => rejected(`promises.${name}`, original, args));
    }
    const probe = await fs.promises.open("/dev/null");
    const handle = Reflect.getPrototypeOf(probe)!;
    for (const [name, errnos] of Object.entries(inFileHandle)) {
      this.errnos.set(`file.${name}`, errnos);
      this.#wrap(handle, name, (original, args) => rejected(`file.${name}`, original, args));
    }
    await probe.close();
    syncBuiltinESMExports();
  }

  #wrap(holder: object, name: string, run: (original: Call, args: never[]) => unknown): void {
    const functions = holder as Record<string, Call>;
    const original = functions[name]!;
    functions[name] = function (this: unknown, ...args: never[]) {
      return run((...given: never[]) => original.apply(this, given), args);
    };
    this.#restore.push(() => (functions[name] = original));
  }

  /** Counts a call. @returns how it fails, if it is the one */
  #next(name: string): string | undefined {
    if (!this.#counting) return undefined;
    const at = this.counts.get(name) ?? 0;
    this.counts.set(name, at + 1);
    const { fault } = this;
    if (fault?.call !== name || fault.at !== at) return undefined;
    this.struck = true;
    return fault.errno;
  }
}

function injected(errno: string, syscall: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${errno}: injected, ${syscall}`), {
    code: errno,
    errno: -numberOf(errno),
    syscall,
  });
}
