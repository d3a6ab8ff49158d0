import koffi from "koffi";

/**
 * Memory that system calls can be given by address, without an object for each call. The address is good for as long
 * as the buffer is reachable: keep the buffer, not the address alone.
 */
export class StableBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #base: bigint;
  readonly #high: number;
  readonly #low: number;

  constructor(length: number) {
    // An explicit ArrayBuffer lives outside the JavaScript heap: no garbage collection moves it.
    const buffer = new ArrayBuffer(length);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.#base = koffi.address(this.bytes);
    this.#high = Number(this.#base >> 32n);
    this.#low = Number(this.#base & 0xffff_ffffn);
  }

  get address(): bigint {
    return this.#base;
  }

  /** Points an iovec at `length` bytes from `offset`. */
  point(
    header: { setBytes(low: number, high: number, length: number): void },
    offset: number,
    length: number,
  ): void {
    const low = this.#low + offset;
    const carry = low > 0xffff_ffff ? 1 : 0;
    header.setBytes(low >>> 0, this.#high + carry, length);
  }
}
