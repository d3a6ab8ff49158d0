/** One interrupt index of the device (INTx, MSI, MSI-X, ERR, REQ): its eventfds and its masks. */

import { VfioError } from "@vfiokit/core";
import { createEventFd, reactor, type Fd, type Watch } from "../linux/index.js";
import { IrqSetFlags, type IrqSet } from "../wire/index.js";
import type { CallOptions } from "../socket/index.js";

/** Hears of interrupts: which vector, and how often since the last call. */
export type TriggerListener = (vector: number, count: number) => void;

/** How an irq speaks to the server. */
export interface IrqCommands {
  setIrqs(request: Omit<IrqSet, "argsz">, fds: readonly Fd[], options: CallOptions): Promise<void>;
  /** Descriptors that go with one message. */
  maxFds(): number;
}

interface Vector {
  readonly fd: Fd;
  readonly watch: Watch;
}

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = IrqSetFlags;
const NO_DATA = new Uint8Array();

/** One kind of interrupt of a served device: set up, awaited, masked. */
export class ClientIrq {
  #vectors: Vector[] = [];
  /** Vectors that the client masked: masked again at the next server. */
  readonly #masked = new Set<number>();
  readonly #listeners = new Set<TriggerListener>();

  constructor(
    readonly index: number,
    private readonly commands: IrqCommands,
  ) {}

  /** How many vectors have an eventfd. */
  get enabled(): number {
    return this.#vectors.length;
  }

  /**
   * Has the server signal the first `count` vectors. Repeated, it changes their number, as NORESIZE allows: all are
   * taken down first.
   */
  async enable(count: number, options: CallOptions = {}): Promise<void> {
    if (!Number.isInteger(count) || count < 1) throw new VfioError("EINVAL", `${count} vectors: at least 1`);
    if (this.enabled > 0) await this.disable(options);
    const vectors: Vector[] = [];
    try {
      for (let vector = 0; vector < count; vector++) vectors.push(this.#listen(vector));
      await this.#assign(this.commands, vectors, options);
    } catch (error) {
      release(vectors);
      throw error;
    }
    this.#vectors = vectors;
  }

  /** Takes down every vector of the index. */
  async disable(options: CallOptions = {}): Promise<void> {
    await this.#set(DATA_NONE | ACTION_TRIGGER, 0, 0, options);
    this.release();
  }

  /** Calls `listener` with the vector, and how often it was triggered since the last call. @returns its removal */
  onTrigger(listener: TriggerListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Fulfilled with the vector of the next trigger: of one from now on, so call it before what raises the interrupt, and
   * await it afterwards.
   * @throws VfioError ECANCELED, by `signal`
   */
  next(signal?: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      const finish = (run: () => void): void => {
        off();
        signal?.removeEventListener("abort", abort);
        run();
      };
      const abort = (): void => finish(() => reject(new VfioError("ECANCELED", "waiting for an interrupt")));
      const off = this.onTrigger((vector) => finish(() => resolve(vector)));
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort);
    });
  }

  async mask(vector = 0, options: CallOptions = {}): Promise<void> {
    await this.#set(DATA_NONE | ACTION_MASK, vector, 1, options);
    this.#masked.add(vector);
  }

  async unmask(vector = 0, options: CallOptions = {}): Promise<void> {
    await this.#set(DATA_NONE | ACTION_UNMASK, vector, 1, options);
    this.#masked.delete(vector);
  }

  /** Has the server trigger the vector, as the device would. */
  trigger(vector = 0, options: CallOptions = {}): Promise<void> {
    return this.#set(DATA_NONE | ACTION_TRIGGER, vector, 1, options);
  }

  /** One action for each vector from `start` whose boolean is true. */
  setEach(
    action: "mask" | "unmask" | "trigger",
    start: number,
    which: readonly boolean[],
    options: CallOptions = {},
  ): Promise<void> {
    const flag = { mask: ACTION_MASK, unmask: ACTION_UNMASK, trigger: ACTION_TRIGGER }[action];
    const data = Uint8Array.from(which, Number);
    const request = { flags: DATA_BOOL | flag, index: this.index, start, count: which.length, data };
    return this.commands.setIrqs(request, [], options);
  }

  /** Sets up a new server as the old one was. */
  async restore(commands: IrqCommands, options: CallOptions): Promise<void> {
    if (this.enabled > 0) await this.#assign(commands, this.#vectors, options);
    for (const vector of this.#masked) {
      const request = {
        flags: DATA_NONE | ACTION_MASK,
        index: this.index,
        start: vector,
        count: 1,
        data: NO_DATA,
      };
      await commands.setIrqs(request, [], options);
    }
  }

  /** Closes the eventfds, without telling the server. */
  release(): void {
    release(this.#vectors.splice(0));
    this.#masked.clear();
  }

  #listen(vector: number): Vector {
    const fd = createEventFd();
    const watch = reactor.addEventFd(fd, (count) => {
      for (const listener of [...this.#listeners]) listener(vector, count);
      // Who waits for it goes on in a microtask.
      reactor.yield();
    });
    return { fd, watch };
  }

  /** Sends the eventfds, as many in a message as the server takes. */
  async #assign(commands: IrqCommands, vectors: readonly Vector[], options: CallOptions): Promise<void> {
    const most = commands.maxFds();
    if (most < 1) throw new VfioError("EOPNOTSUPP", "the server takes no descriptors: max_msg_fds is 0");
    for (let start = 0; start < vectors.length; start += most) {
      const fds = vectors.slice(start, start + most).map(({ fd }) => fd);
      const flags = DATA_EVENTFD | ACTION_TRIGGER;
      const request = { flags, index: this.index, start, count: fds.length, data: NO_DATA };
      await commands.setIrqs(request, fds, options);
    }
  }

  #set(flags: number, start: number, count: number, options: CallOptions): Promise<void> {
    return this.commands.setIrqs({ flags, index: this.index, start, count, data: NO_DATA }, [], options);
  }
}

function release(vectors: readonly Vector[]): void {
  for (const { fd, watch } of vectors) {
    watch.remove();
    fd.close();
  }
}
