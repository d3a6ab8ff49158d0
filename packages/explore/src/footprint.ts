/** A footprint that can be sent: see `Footprint.toData`. */
export type FootprintData = readonly string[];

/**
 * Stands for all plain fields: those that the explorer does not see. An event that may use any of them changes it; one
 * that names those that it uses looks at it, and changes them.
 */
const FIELDS = "fields";

/**
 * What one event touched: locks, variables, signals, by their stable name, and whether it could change them. Two
 * events commute when nothing that one may change is touched by the other.
 */
export class Footprint {
  readonly #touched = new Map<string, boolean>();
  #everything = false;
  #writes = 0;
  /** What it was when it was sealed. */
  #sealed: { readonly size: number; readonly writes: number; readonly everything: boolean } | undefined;

  /** @param writes it may change the object; else it only looks at it */
  add(object: string, writes: boolean): void {
    const before = this.#touched.get(object);
    if (before || (before === false && !writes)) return;
    if (writes) this.#writes++;
    this.#touched.set(object, writes);
  }

  /** All that the event did in this execution is in it: what is added from now on is what it did in others. */
  seal(): void {
    this.#sealed = { size: this.#touched.size, writes: this.#writes, everything: this.#everything };
  }

  /** Something that one of two events did, and the other did not, in its own execution; undefined if there is nothing. */
  differenceTo(other: Footprint): string | undefined {
    const [a, b] = [this.#sealed, other.#sealed];
    if (!a || !b) return undefined;
    const [mine, theirs] = [this.#touched.keys(), other.#touched.keys()];
    for (let i = 0; i < Math.max(a.size, b.size); i++) {
      const [x, y] = [
        i < a.size ? mine.next().value : undefined,
        i < b.size ? theirs.next().value : undefined,
      ];
      if (x !== y) return `${x ?? "nothing"} and ${y ?? "nothing"}`;
    }
    if (a.writes !== b.writes) return "it changes what it only looked at before";
    return a.everything === b.everything ? undefined : "everything, and not everything";
  }

  /** As plain data: "+name" may have been changed, "-name" was only looked at, "*" is everything. */
  toData(): FootprintData {
    const objects = [...this.#touched].map(([object, writes]) => `${writes ? "+" : "-"}${object}`);
    return this.#everything ? ["*", ...objects] : objects;
  }

  static of(data: FootprintData): Footprint {
    const footprint = new Footprint();
    for (const each of data) {
      if (each === "*") footprint.addEverything();
      else footprint.add(each.slice(1), each.startsWith("+"));
    }
    return footprint;
  }

  /** @param fields plain fields that were used, by name. Undefined: any */
  addFields(fields: readonly string[] | undefined): void {
    if (!fields) this.add(FIELDS, true);
    else if (fields.length > 0) this.add(FIELDS, false);
    for (const field of fields ?? []) this.add(`field(${field})`, true);
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

  equals(other: Footprint): boolean {
    if (this.#everything !== other.#everything || this.#touched.size !== other.#touched.size) return false;
    return [...this.#touched].every(([object, writes]) => other.#touched.get(object) === writes);
  }

  /** Takes over what `other` looked at. */
  merge(other: Footprint): void {
    for (const [object, writes] of other.#touched) this.add(object, writes);
    this.#everything ||= other.#everything;
  }
}
