import { IrqIndex } from "@vfiokit/core";
import type { Fd } from "../linux/index.js";
import {
  DmaMap,
  DmaUnmapFlags,
  IRQ_SET_ACTION_MASK,
  IRQ_SET_DATA_MASK,
  IrqSet,
  IrqSetFlags,
  type DmaUnmap,
} from "../wire/index.js";
import { ClientLogging } from "./client-logging.js";

/** A part of the client's memory, as the client mapped it. */
export interface ClientMap {
  readonly request: DmaMap;
  /** The memory's file, where the client gave it. */
  readonly fd: Fd | undefined;
}

/** A request of the set-up's own: what a new server is told. */
export interface IrqRequest {
  readonly request: IrqSet;
  readonly fds: readonly Fd[];
}

interface Vector {
  /** Undefined: only masked. */
  fd: Fd | undefined;
  masked: boolean;
}

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = IrqSetFlags;
const NO_DATA = new Uint8Array();

/**
 * What the client has set up at its server and a new server must be told again: DMA maps with their files, the
 * eventfds and masks of interrupts, dirty logging. It holds duplicates of nothing: the descriptors that it is given are
 * its own.
 */
export class ClientSetup {
  readonly #maps = new Map<bigint, ClientMap>();
  /** By irq index, then by vector. */
  readonly #irqs = new Map<number, Map<number, Vector>>();
  /** Dirty logging, where the client has started it. */
  readonly logging = new ClientLogging();

  get maps(): Iterable<ClientMap> {
    return this.#maps.values();
  }

  get mapCount(): number {
    return this.#maps.size;
  }

  /** The server has taken a map. The setup takes `fd`. */
  addMap(request: DmaMap, fd: Fd | undefined): void {
    this.#maps.get(request.address)?.fd?.close();
    this.#maps.set(request.address, { request, fd });
  }

  /** The server has dropped a map, or several: VFIO allows both. */
  removeMaps({ flags, address, size }: DmaUnmap): void {
    for (const [start, { request, fd }] of this.#maps) {
      const inside = start >= address && start + request.size <= address + size;
      if (!inside && !(flags & DmaUnmapFlags.ALL)) continue;
      fd?.close();
      this.logging.unmapped(request);
      this.#maps.delete(start);
    }
  }

  /** The server has carried out SET_IRQS. The setup takes `fds`. */
  setIrqs({ flags, index, start, count, data }: IrqSet, fds: readonly Fd[]): void {
    const action = flags & IRQ_SET_ACTION_MASK;
    const kind = flags & IRQ_SET_DATA_MASK;
    if (action === ACTION_TRIGGER && kind === DATA_EVENTFD) {
      for (let i = 0; i < count; i++) this.#assign(index, start + i, fds[i]);
      for (const fd of fds.slice(count)) fd.close();
      return;
    }
    for (const fd of fds) fd.close();
    if (action === ACTION_TRIGGER) {
      if (kind === DATA_NONE && count === 0) this.#disable(index);
      return;
    }
    for (let i = 0; i < count; i++) {
      if (kind === DATA_BOOL && data[i] === 0) continue;
      if (kind !== DATA_EVENTFD) this.#vector(index, start + i).masked = action === ACTION_MASK;
    }
  }

  /** The client's eventfd of an interrupt, to signal in the server's stead. Stays the set-up's. */
  triggerOf(index: number, vector: number): Fd | undefined {
    return this.#irqs.get(index)?.get(vector)?.fd;
  }

  /** What sets up the interrupts of a new server: eventfds, then masks. @param maxFds of one message */
  *irqRequests(maxFds: number): Generator<IrqRequest> {
    for (const [index, vectors] of this.#irqs) {
      const assigned = [...vectors].filter(([, { fd }]) => fd).sort(([a], [b]) => a - b);
      for (let at = 0; at < assigned.length;) {
        const start = assigned[at]![0];
        let end = at + 1;
        while (end < assigned.length && end - at < maxFds && assigned[end]![0] === start + end - at) end++;
        const fds = assigned.slice(at, end).map(([, { fd }]) => fd!);
        yield { request: irqSet(DATA_EVENTFD | ACTION_TRIGGER, index, start, fds.length), fds };
        at = end;
      }
      for (const [vector, { masked }] of vectors)
        if (masked) yield { request: irqSet(DATA_NONE | ACTION_MASK, index, vector, 1), fds: [] };
    }
  }

  close(): void {
    for (const { fd } of this.#maps.values()) fd?.close();
    this.#maps.clear();
    for (const index of this.#irqs.keys()) this.#disable(index);
  }

  #assign(index: number, vector: number, fd: Fd | undefined): void {
    const one = this.#vector(index, vector);
    one.fd?.close();
    one.fd = fd;
  }

  #vector(index: number, vector: number): Vector {
    let vectors = this.#irqs.get(index);
    if (!vectors) this.#irqs.set(index, (vectors = new Map<number, Vector>()));
    let one = vectors.get(vector);
    if (!one) vectors.set(vector, (one = { fd: undefined, masked: false }));
    return one;
  }

  /** VFIO uAPI: DATA_NONE, ACTION_TRIGGER and count 0 disables the index; its masks are forgotten. */
  #disable(index: number): void {
    for (const { fd } of this.#irqs.get(index)?.values() ?? []) fd?.close();
    this.#irqs.delete(index);
  }
}

function irqSet(flags: number, index: number, start: number, count: number): IrqSet {
  return { argsz: IrqSet.size, flags, index, start, count, data: NO_DATA };
}

/** Takes down all interrupts of an index, and their masks. */
export const disableIrq = (index: number): IrqSet => irqSet(DATA_NONE | ACTION_TRIGGER, index, 0, 0);

/** Masks INTx, which there is one of, or unmasks it. */
export const maskIntx = (masked: boolean): IrqSet =>
  irqSet(DATA_NONE | (masked ? ACTION_MASK : ACTION_UNMASK), IrqIndex.INTX, 0, 1);
