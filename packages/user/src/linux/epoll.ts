import { Fd } from "./fd.js";
import { check, EINTR, errno, libc, SyscallError } from "./libc.js";
import { StableBuffer } from "./stable-buffer.js";

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

export const EpollEvents = { IN: 0x001, OUT: 0x004, ERR: 0x008, HUP: 0x010, RDHUP: 0x2000 } as const;

/** struct epoll_event: uint32_t events, then 64 bits of data; packed on x86-64 only. */
const EVENT_BYTES = process.arch === "x64" ? 12 : 16;
const DATA_OFFSET = process.arch === "x64" ? 4 : 8;
const MAX_EVENTS = 32;

/** A set of descriptors to watch, each with a number of the caller's choice below 2^32. Level-triggered. */
export class Epoll implements Disposable {
  readonly #fd = new Fd(check(libc.epollCreate(EPOLL_CLOEXEC), "epoll_create1"));
  readonly #events = new StableBuffer(MAX_EVENTS * EVENT_BYTES);

  /** To be watched itself: readable while `wait` would return something. */
  get fd(): Fd {
    return this.#fd;
  }

  add(fd: Fd, token: number, events: number): void {
    this.#control(EPOLL_CTL_ADD, fd, token, events);
  }

  modify(fd: Fd, token: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, token, events);
  }

  remove(fd: Fd): void {
    check(libc.epollCtl(this.#fd.number, EPOLL_CTL_DEL, fd.number, null), "epoll_ctl(DEL)");
  }

  /** How many have something to report, without waiting; `token(i)` and `events(i)` say what. */
  poll(): number {
    const count = libc.epollWait(this.#fd.number, this.#events.address, MAX_EVENTS, 0);
    if (count >= 0) return count;
    const error = errno();
    if (error === EINTR) return 0;
    throw new SyscallError("epoll_wait", error);
  }

  token(index: number): number {
    return this.#events.view.getUint32(index * EVENT_BYTES + DATA_OFFSET, true);
  }

  events(index: number): number {
    return this.#events.view.getUint32(index * EVENT_BYTES, true);
  }

  [Symbol.dispose](): void {
    this.#fd.close();
  }

  #control(operation: number, fd: Fd, token: number, events: number): void {
    const event = new Uint8Array(EVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setUint32(0, events, true);
    view.setUint32(DATA_OFFSET, token, true);
    check(libc.epollCtl(this.#fd.number, operation, fd.number, event), "epoll_ctl");
  }
}
