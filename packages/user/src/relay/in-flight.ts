import { Header, HEADER_SIZE, RegionAccess } from "../wire/index.js";
import type { Inbox } from "../socket/index.js";
import type { StatefulRequest } from "./stateful.js";

/** Requests of a client that can be under way at a time; further ones wait in its socket. */
export const MAX_IN_FLIGHT = 1024;

/** What is kept of every request: all of a REGION_READ. */
const KEPT_BYTES = HEADER_SIZE + RegionAccess.size;

/**
 * The requests of the client that a server has and has not answered. The server knows each by its slot, which is the
 * message id that it was forwarded with. Nothing is allocated for accesses to regions.
 */
export class InFlight {
  readonly #free = new Uint16Array(MAX_IN_FLIGHT);
  #freeCount = MAX_IN_FLIGHT;
  readonly #kept = new Uint8Array(MAX_IN_FLIGHT * KEPT_BYTES);
  readonly #keptView = new DataView(this.#kept.buffer);
  /** When it was forwarded, counted in requests; 0: the slot is free. */
  readonly #order = new Float64Array(MAX_IN_FLIGHT);
  #lastOrder = 0;
  /** Requests whose client was told that they have failed: the server has not answered in time. */
  readonly #abandoned = new Uint8Array(MAX_IN_FLIGHT);
  #abandonedCount = 0;
  /** Of the requests that change what a server must be told again. */
  readonly #stateful: (StatefulRequest | undefined)[] = [];

  constructor() {
    for (let slot = 0; slot < MAX_IN_FLIGHT; slot++) this.#free[MAX_IN_FLIGHT - 1 - slot] = slot;
  }

  get count(): number {
    return MAX_IN_FLIGHT - this.#freeCount;
  }

  /** Requests that their client does not wait for any more. */
  get abandonedCount(): number {
    return this.#abandonedCount;
  }

  /** What tells the longest waiting request from others, of those that the client waits for; 0: there is none. */
  get oldest(): number {
    let oldest = 0;
    for (let slot = 0; slot < MAX_IN_FLIGHT; slot++) {
      const order = this.#order[slot]!;
      if (order !== 0 && this.#abandoned[slot] === 0 && (oldest === 0 || order < oldest)) oldest = order;
    }
    return oldest;
  }

  isAbandoned(slot: number): boolean {
    return this.#abandoned[slot] === 1;
  }

  /** The client waits for it no more. The slot stays taken until the server has answered. */
  abandon(slot: number): void {
    this.#abandoned[slot] = 1;
    this.#abandonedCount++;
  }

  get full(): boolean {
    return this.#freeCount === 0;
  }

  /** Takes a slot for the first message of `inbox`. Not while full. */
  add(inbox: Inbox, size: number, stateful?: StatefulRequest): number {
    return this.addFrom(inbox.bytes, inbox.head, size, stateful);
  }

  /** `add` for a message that is not in an inbox. */
  addFrom(bytes: Uint8Array, from: number, size: number, stateful?: StatefulRequest): number {
    const slot = this.#free[--this.#freeCount]!;
    const at = slot * KEPT_BYTES;
    const kept = Math.min(size, KEPT_BYTES);
    for (let i = 0; i < kept; i++) this.#kept[at + i] = bytes[from + i]!;
    this.#order[slot] = ++this.#lastOrder;
    if (stateful) this.#stateful[slot] = stateful;
    return slot;
  }

  has(slot: number): boolean {
    return slot < MAX_IN_FLIGHT && this.#order[slot] !== 0;
  }

  /** The client's id of the request. */
  idOf(slot: number): number {
    return this.#keptView.getUint16(slot * KEPT_BYTES + Header.offset.msg_id, true);
  }

  commandOf(slot: number): number {
    return this.#keptView.getUint16(slot * KEPT_BYTES + Header.offset.cmd, true);
  }

  statefulOf(slot: number): StatefulRequest | undefined {
    return this.#stateful[slot];
  }

  /** The request as the client sent it; undefined: only its beginning was kept. */
  messageOf(slot: number): Uint8Array | undefined {
    const stateful = this.#stateful[slot];
    if (stateful) return stateful.message;
    const at = slot * KEPT_BYTES;
    const size = this.#keptView.getUint32(at + Header.offset.msg_size, true);
    return size <= KEPT_BYTES ? this.#kept.slice(at, at + size) : undefined;
  }

  /** The request has its answer. */
  remove(slot: number): void {
    this.#order[slot] = 0;
    if (this.#abandoned[slot] === 1) {
      this.#abandoned[slot] = 0;
      this.#abandonedCount--;
    }
    if (this.#stateful[slot]) this.#stateful[slot] = undefined;
    this.#free[this.#freeCount++] = slot;
  }

  /** All slots in use, in the order of their requests. */
  slots(): number[] {
    const slots: number[] = [];
    for (let slot = 0; slot < MAX_IN_FLIGHT; slot++) if (this.#order[slot] !== 0) slots.push(slot);
    return slots.sort((a, b) => this.#order[a]! - this.#order[b]!);
  }
}
