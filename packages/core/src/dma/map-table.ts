import type { DmaBacking } from "../memory.js";

/** One mapped range of the client's memory. */
export interface DmaMap {
  /** First page frame. */
  readonly first: number;
  /** One past the last page frame. */
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Absent: reached by messages only. */
  readonly backing: DmaBacking | undefined;
  /** `backing.bytes`, a property load nearer. */
  readonly bytes: Uint8Array | undefined;
}

/** Maps that do not overlap, sorted by address. */
export class MapTable {
  readonly #maps: DmaMap[] = [];
  /** Index of the map found last: DMA goes to the same one again and again. */
  #last = 0;

  get size(): number {
    return this.#maps.length;
  }

  at(index: number): DmaMap | undefined {
    return this.#maps[index];
  }

  /** Index of the map that holds the frame, or -1. */
  find(frame: number): number {
    const last = this.#maps[this.#last];
    if (last && frame >= last.first && frame < last.end) return this.#last;
    const index = this.lowerBound(frame);
    const map = this.#maps[index];
    if (!map || frame < map.first) return -1;
    this.#last = index;
    return index;
  }

  /** Index of the first map that ends behind the frame: the one that holds it, or the next one up. */
  lowerBound(frame: number): number {
    let low = 0;
    let high = this.#maps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#maps[middle]!.end > frame) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** @param index where it belongs: `lowerBound(map.first)` */
  insert(index: number, map: DmaMap): void {
    this.#maps.splice(index, 0, map);
  }

  /** Removes `count` maps from `index` on. */
  remove(index: number, count: number): DmaMap[] {
    return this.#maps.splice(index, count);
  }
}
