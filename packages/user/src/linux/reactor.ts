import { availableParallelism } from "node:os";
import koffi, { type node } from "koffi";
import { Epoll, EpollEvents } from "./epoll.js";
import { monotonicMs } from "./clock.js";
import { drainEventFd } from "./eventfd.js";
import type { Fd } from "./fd.js";
import { libc } from "./libc.js";

/** Longest stretch of polling before timers and other I/O of the process get their turn, in milliseconds. */
const SLICE_MS = 0.2;
/** How long to keep polling when nothing arrives, in milliseconds. A wake-up from sleep costs 20 to 50 us. */
const IDLE_MS = availableParallelism() > 1 ? 0.25 : 0;
/** A lap asks epoll about all sources once, and tries those with traffic this often. */
const ROUNDS_PER_LAP = 8;
/** A source that had nothing this many times in a row is cold. */
const HOT_MISSES = 256;

/** What watches a descriptor. Calls come one at a time, never from within `add` or a method of `Watch`. */
export interface Source {
  /**
   * There may be something to read. Take a bounded amount of it and do not wait.
   *
   * @returns whether there was something; then the next call follows soon, whether or not more arrives
   */
  onReadable(): boolean;
  /** Room to write, while `setWritable(true)`. */
  onWritable?(): void;
  /** The peer is gone and nobody reads (`setReadable(false)`); the source has been removed. */
  onHangup?(): void;
}

/** A source's place in the reactor. */
export interface Watch {
  setReadable(on: boolean): void;
  setWritable(on: boolean): void;
  /** Has `onReadable` called soon, as if something had arrived. */
  wake(): void;
  /** Call it before the descriptor is closed. Removing twice does nothing. */
  remove(): void;
}

/**
 * Watches descriptors for the whole process. While traffic flows it polls without sleeping, since waking a
 * process costs more than anything else in a round trip; when nothing has come for a while, the descriptors
 * are left to the event loop and no CPU is used. An empty reactor holds no descriptor and keeps no process alive.
 */
export class Reactor {
  #epoll: Epoll | undefined;
  #loopHandle: node.PollHandle | undefined;
  readonly #sources = new Map<number, Entry>();
  #hot: Entry[] = [];
  #nextToken = 1;
  #spinning = false;
  #lastWork = 0;
  #yield = false;

  /**
   * Watches `fd`, which stays the caller's.
   * @throws SyscallError EPERM: a file that cannot be waited for; EEXIST: watched already
   */
  add(fd: Fd, source: Source): Watch {
    const epoll = (this.#epoll ??= this.#start());
    const token = this.#nextToken;
    this.#nextToken = (token + 1) >>> 0;
    const entry = new Entry(this, fd, token, source);
    this.#sources.set(token, entry);
    try {
      epoll.add(fd, token, EpollEvents.IN | EpollEvents.RDHUP);
    } catch (error) {
      this.#forget(token);
      throw error;
    }
    return entry;
  }

  /** `add`, for whoever has taken `fd` over: it is closed where it cannot be watched. */
  take(fd: Fd, source: Source): Watch {
    try {
      return this.add(fd, source);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** Calls `callback` whenever the eventfd was signalled, with how often. The eventfd is closed where it cannot be watched. */
  addEventFd(fd: Fd, callback: (count: number) => void): Watch {
    return this.take(fd, {
      onReadable() {
        const count = drainEventFd(fd);
        if (count > 0) callback(count);
        return count > 0;
      },
    });
  }

  /** Ends the current stretch of polling after this call, so that promises and timers are served at once. */
  yield(): void {
    this.#yield = true;
  }

  /** For `Entry` only. */
  update(entry: Entry): void {
    const readable = entry.readable ? EpollEvents.IN | EpollEvents.RDHUP : 0;
    this.#epoll!.modify(entry.fd, entry.token, readable | (entry.writable ? EpollEvents.OUT : 0));
    if (!entry.readable) this.#cool(entry);
  }

  /** For `Entry` only. */
  wake(entry: Entry): void {
    this.#heat(entry);
    this.#schedule();
  }

  /** For `Entry` only. */
  delete(entry: Entry): void {
    this.#cool(entry);
    this.#epoll!.remove(entry.fd);
    this.#forget(entry.token);
  }

  #forget(token: number): void {
    this.#sources.delete(token);
    if (this.#sources.size === 0) this.#stop();
  }

  #start(): Epoll {
    const epoll = new Epoll();
    // koffi calls back outside of any callback scope of Node's (no microtasks, and a throw is fatal): the
    // immediate, which runs later in the same turn of the event loop, does the work.
    try {
      this.#loopHandle = koffi.node.poll(epoll.fd.number, () => this.#schedule());
      return epoll;
    } catch (error) {
      epoll[Symbol.dispose]();
      throw error;
    }
  }

  #stop(): void {
    this.#loopHandle!.close();
    this.#loopHandle = undefined;
    this.#epoll![Symbol.dispose]();
    this.#epoll = undefined;
  }

  #schedule(): void {
    if (this.#spinning) return;
    this.#spinning = true;
    this.#lastWork = monotonicMs();
    setImmediate(this.#slice);
  }

  /** One stretch of polling. */
  readonly #slice = (): void => {
    const start = monotonicMs();
    let now = start;
    this.#yield = false;
    // Holds also when a handler throws: the next stretch is arranged before the exception leaves.
    try {
      do {
        const worked = this.#lap();
        now = monotonicMs();
        if (worked) this.#lastWork = now;
      } while (now - start < SLICE_MS && this.#mayGoOn());
    } finally {
      if (this.#sources.size > 0 && now - this.#lastWork <= IDLE_MS) setImmediate(this.#slice);
      else this.#rest();
    }
  };

  #mayGoOn(): boolean {
    return !this.#yield && this.#sources.size > 0;
  }

  /** Returns whether any source had something. */
  #lap(): boolean {
    let worked = this.#pollAll();
    for (let round = 0; round < ROUNDS_PER_LAP && this.#hot.length > 0 && this.#mayGoOn(); round++) {
      if (this.#pollHot()) worked = true;
      else libc.schedYield(); // whoever we wait for may be waiting for this CPU
    }
    return worked;
  }

  /** Tries the sources with traffic. */
  #pollHot(): boolean {
    let worked = false;
    for (const entry of this.#hot) {
      if (entry.source.onReadable()) {
        entry.misses = 0;
        worked = true;
      } else if (++entry.misses > HOT_MISSES) {
        this.#cool(entry);
      }
    }
    return worked;
  }

  /** Asks epoll which sources have something. */
  #pollAll(): boolean {
    const epoll = this.#epoll;
    if (!epoll) return false;
    const count = epoll.poll();
    let worked = false;
    for (let i = 0; i < count; i++) {
      const entry = this.#sources.get(epoll.token(i));
      // A handler of this very round may have removed it.
      if (entry && this.#dispatch(entry, epoll.events(i))) worked = true;
    }
    return worked;
  }

  #dispatch(entry: Entry, events: number): boolean {
    if (events & EpollEvents.OUT) entry.source.onWritable?.();
    if (entry.removed) return true;
    if (!entry.readable) {
      if (!(events & (EpollEvents.HUP | EpollEvents.ERR))) return true;
      entry.remove();
      entry.source.onHangup?.();
      return true;
    }
    // Hot ones are tried anyway.
    if (this.#hot.includes(entry) || !entry.source.onReadable()) return false;
    if (this.#sources.has(entry.token)) this.#heat(entry);
    return true;
  }

  #heat(entry: Entry): void {
    entry.misses = 0;
    if (!this.#hot.includes(entry)) this.#hot.push(entry);
  }

  #cool(entry: Entry): void {
    const at = this.#hot.indexOf(entry);
    if (at >= 0) this.#hot.splice(at, 1);
  }

  #rest(): void {
    this.#spinning = false;
    this.#hot = [];
  }
}

class Entry implements Watch {
  readable = true;
  writable = false;
  removed = false;
  misses = 0;

  constructor(
    private readonly reactor: Reactor,
    readonly fd: Fd,
    readonly token: number,
    readonly source: Source,
  ) {}

  setReadable(on: boolean): void {
    if (this.removed || this.readable === on) return;
    this.readable = on;
    this.reactor.update(this);
  }

  setWritable(on: boolean): void {
    if (this.removed || this.writable === on) return;
    this.writable = on;
    this.reactor.update(this);
  }

  wake(): void {
    if (!this.removed) this.reactor.wake(this);
  }

  remove(): void {
    if (this.removed) return;
    this.removed = true;
    this.reactor.delete(this);
  }
}

/** The reactor of this process. */
export const reactor = new Reactor();
