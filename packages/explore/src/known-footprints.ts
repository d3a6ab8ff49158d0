import { Footprint, type FootprintData } from "./footprint.js";

/**
 * What each event touched in any execution so far.
 *
 * An event's footprint can depend on the state: a trylock that fails does not touch what it guards. The search takes
 * two events for independent in all states where it saw them so in one, so each event counts as touching all that it
 * ever touched. When an event turns out to touch more than it did before, what was concluded until then may be wrong.
 */
export class KnownFootprints {
  readonly #known = new Map<string, Footprint>();
  /** What is known since it was handed over. */
  readonly #news = new Set<string>();
  #grown = false;

  constructor(known: Readonly<Record<string, FootprintData>> = {}) {
    for (const [event, footprint] of Object.entries(known)) this.#known.set(event, Footprint.of(footprint));
  }

  /**
   * Widens what one event touched to what it ever touched.
   * @param event the same for the next event of a thread in whatever state the others are
   * @param own the object that the event waits for: how it is touched depends on nothing but itself
   */
  widen(event: string, footprint: Footprint, own: string | undefined): void {
    const known = this.#known.get(event);
    if (!known) {
      const first = new Footprint();
      for (const [object, writes] of footprint.touched) if (object !== own) first.add(object, writes);
      if (footprint.everything) first.addEverything();
      this.#known.set(event, first);
      this.#news.add(event);
      return;
    }
    for (const [object, writes] of footprint.touched) {
      if (object === own) continue;
      const before = known.touched.get(object);
      if (before !== undefined && (before || !writes)) continue;
      known.add(object, writes);
      this.#news.add(event);
      this.#grown = true;
    }
    if (footprint.everything && !known.everything) {
      known.addEverything();
      this.#news.add(event);
      this.#grown = true;
    }
    for (const [object, writes] of known.touched) if (object !== own) footprint.add(object, writes);
    if (known.everything) footprint.addEverything();
  }

  /** What was not known at the start. */
  news(): Record<string, FootprintData> {
    return Object.fromEntries([...this.#news].map((event) => [event, this.#known.get(event)!.toData()]));
  }

  /** An event touched more than it was known to, since this was asked last. */
  takeGrown(): boolean {
    const grown = this.#grown;
    this.#grown = false;
    return grown;
  }
}
