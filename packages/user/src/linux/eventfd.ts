import { readlinkSync } from "node:fs";
import { VfioError } from "@vfiokit/core";
import type { IrqTrigger } from "@vfiokit/core/host";
import { Fd } from "./fd.js";
import { check, libc } from "./libc.js";
import { isWritable } from "./poll.js";
import { StableBuffer } from "./stable-buffer.js";

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;

const EVENTFD_BYTES = 8;

const one = new StableBuffer(EVENTFD_BYTES);
one.view.setBigUint64(0, 1n, true);
const counter = new StableBuffer(EVENTFD_BYTES);

/** A new eventfd, which does not block. @throws SyscallError */
export function createEventFd(): Fd {
  return new Fd(check(libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd"));
}

/** Adds 1. A counter that is full stays full: the reader has a wake-up pending anyway. */
export function signalEventFd(fd: Fd): void {
  libc.write(fd.number, one.address, EVENTFD_BYTES);
}

/** Reads and zeroes the counter: how often it was signalled, 0 if it was not. */
export function drainEventFd(fd: Fd): number {
  return libc.read(fd.number, counter.address, EVENTFD_BYTES) === EVENTFD_BYTES
    ? Number(counter.view.getBigUint64(0, true))
    : 0;
}

/** Closes what is no eventfd, and what cannot be looked at. @throws VfioError EINVAL; SyscallError */
export function requireEventFd(fd: Fd): void {
  try {
    const target = readlinkSync(`/proc/self/fd/${fd.number}`);
    if (target === "anon_inode:[eventfd]") return;
    throw new VfioError("EINVAL", `an interrupt's descriptor is ${target}: it must be an eventfd`);
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** An eventfd of the client, as the target of an interrupt. */
export class EventFdTrigger implements IrqTrigger {
  readonly #fd: Fd;
  readonly #blocking: boolean;

  /** Takes `fd`, also when it fails. @throws VfioError EINVAL, unless it is an eventfd (as Linux's VFIO does). */
  constructor(fd: Fd) {
    requireEventFd(fd);
    this.#fd = fd;
    this.#blocking = (fd.statusFlags & O_NONBLOCK) === 0;
  }

  signal(): void {
    // The client chose whether writing to a full counter blocks; it must not block this process.
    if (this.#blocking && !isWritable(this.#fd)) return;
    signalEventFd(this.#fd);
  }

  close(): void {
    this.#fd.close();
  }
}
