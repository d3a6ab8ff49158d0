import { VfioError } from "../errno.js";
import type { DmaBacking } from "../memory.js";
import { pageName } from "./page.js";

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

/** Maps that do not overlap, sorted by address. Ranges are page frames, the end excluded. */
export class MapTable {
  readonly #maps: DmaMap[] = [];
  readonly #limit: number;
  /** Index of the map found last: DMA goes to the same one again and again. */
  #last = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

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
    const index = this.#lowerBound(frame);
    const map = this.#maps[index];
    if (!map || frame < map.first) return -1;
    this.#last = index;
    return index;
  }

  /** @throws VfioError EEXIST: overlap, ENOSPC: too many */
  add(map: DmaMap): void {
    const index = this.#lowerBound(map.first);
    const next = this.#maps[index];
    if (next && next.first < map.end)
      throw new VfioError("EEXIST", `${rangeName(map.first, map.end)}: overlaps the map of ${mapName(next)}`);
    if (this.#maps.length >= this.#limit)
      throw new VfioError(
        "ENOSPC",
        `${rangeName(map.first, map.end)}: there are ${this.#limit} maps, the limit`,
      );
    this.#maps.splice(index, 0, map);
  }

  /**
   * Takes out the maps of a range, which must lie in it whole (Linux: type1v2).
   * @param exact the range has to be one map, to the page (vfio-user: "must match exactly")
   * @throws VfioError ENOENT: there is none; EINVAL: one reaches out of the range, or `exact`
   */
  remove(first: number, end: number, exact = false): DmaMap[] {
    const index = this.#lowerBound(first);
    let behind = index;
    for (;;) {
      const map = this.#maps[behind];
      if (!map || map.first >= end) break;
      if (map.first < first || map.end > end)
        throw new VfioError(
          "EINVAL",
          `${rangeName(first, end)}: the map of ${mapName(map)} reaches out of it`,
        );
      behind++;
    }
    if (behind === index) throw new VfioError("ENOENT", `${rangeName(first, end)}: there is no map in it`);
    const only = this.#maps[index]!;
    if (exact && (behind - index > 1 || only.first !== first || only.end !== end))
      throw new VfioError(
        "EINVAL",
        `${rangeName(first, end)}: not exactly one map, as --strict-unmap asks for`,
      );
    return this.#maps.splice(index, behind - index);
  }

  removeAll(): DmaMap[] {
    return this.#maps.splice(0);
  }

  /** Index of the first map that ends behind the frame: the one that holds it, or the next one up. */
  #lowerBound(frame: number): number {
    let low = 0;
    let high = this.#maps.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#maps[middle]!.end > frame) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

function rangeName(first: number, end: number): string {
  return `${pageName(first)} to ${pageName(end)}`;
}

function mapName(map: DmaMap): string {
  return rangeName(map.first, map.end);
}
