/**
 * What one event touched: locks and variables, by their stable name, and whether it could change them. Two events
 * commute when nothing that one may change is touched by the other.
 */
export class Footprint {
  readonly #touched = new Map<string, boolean>();

  /** @param writes it may change the object; else it only looks at it */
  add(object: string, writes: boolean): void {
    this.#touched.set(object, writes || this.#touched.get(object) === true);
  }

  conflictsWith(other: Footprint): boolean {
    const [few, many] = this.#touched.size < other.#touched.size ? [this, other] : [other, this];
    for (const [object, writes] of few.#touched) {
      const theirs = many.#touched.get(object);
      if (theirs !== undefined && (writes || theirs)) return true;
    }
    return false;
  }
}
