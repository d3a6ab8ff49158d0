import { Footprint } from "./footprint.js";
import type { Detail, Knowledge } from "./needs.js";
import type { SubtreeResult } from "./subtree.js";

/**
 * What is known of a program by all who explore parts of it. Within a pass, the parts have the same knowledge: what its
 * first job has found out. If they have different things to say about one event, each of them knew too little.
 */
export class KnowledgePool {
  readonly #locks = new Map<string, Detail>();
  readonly #aborted = new Set<string>();
  readonly #footprints = new Map<string, Footprint>();
  #identified = false;
  #gaps = false;
  #outdated = false;

  /** @param reduces the search leaves out executions, for what is known of footprints */
  constructor(private readonly reduces: boolean) {}

  knowledge(): Knowledge {
    return {
      // In an order that does not depend on whose result came first: it stands in schedules.
      locks: Object.fromEntries([...this.#locks].sort(([a], [b]) => (a < b ? -1 : 1))),
      aborted: [...this.#aborted].sort(),
      identified: this.#identified,
      gaps: this.#gaps,
      footprints: Object.fromEntries(
        [...this.#footprints].map(([event, footprint]) => [event, footprint.toData()]),
      ),
    };
  }

  add({ news, outdated }: SubtreeResult): void {
    if (outdated) this.#outdated = true;
    for (const [name, detail] of Object.entries(news.locks))
      if (detail > (this.#locks.get(name) ?? 0)) this.#locks.set(name, detail);
    for (const signal of news.aborted) this.#aborted.add(signal);
    this.#identified ||= news.identified;
    this.#gaps ||= news.gaps;
    for (const [event, data] of Object.entries(news.footprints)) {
      const footprint = Footprint.of(data);
      const known = this.#footprints.get(event);
      if (!known) this.#footprints.set(event, footprint);
      else if (!known.equals(footprint)) {
        known.merge(footprint);
        this.#outdated ||= this.reduces;
      }
    }
  }

  /** Somebody knew too little, since this was asked last. */
  takeOutdated(): boolean {
    const outdated = this.#outdated;
    this.#outdated = false;
    return outdated;
  }
}
