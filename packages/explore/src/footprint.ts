/**
 * What one event touched: locks, variables, signals, by their stable name, and whether it could change them. Two
 * events commute when nothing that one may change is touched by the other.
 */
export class Footprint {
  readonly #touched = new Map<string, boolean>();
  #everything = false;

  /** @param writes it may change the object; else it only looks at it */
  add(object: string, writes: boolean): void {
    this.#touched.set(object, writes || this.#touched.get(object) === true);
  }

  /** It looked at something whose writers are not known: it commutes with nothing. */
  addEverything(): void {
    this.#everything = true;
  }

  get everything(): boolean {
    return this.#everything;
  }

  /** Objects, and whether they may have been changed. */
  get touched(): ReadonlyMap<string, boolean> {
    return this.#touched;
  }

  conflictsWith(other: Footprint): boolean {
    if (this.#everything || other.#everything) return true;
    const [few, many] = this.#touched.size < other.#touched.size ? [this, other] : [other, this];
    for (const [object, writes] of few.#touched) {
      const theirs = many.#touched.get(object);
      if (theirs !== undefined && (writes || theirs)) return true;
    }
    return false;
  }

  /** Takes over what `other` looked at. */
  merge(other: Footprint): void {
    for (const [object, writes] of other.#touched) this.add(object, writes);
    this.#everything ||= other.#everything;
  }
}
