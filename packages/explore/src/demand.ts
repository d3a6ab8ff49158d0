/**
 * What a race found in a subtree demands of a place in its prefix, or of the places that it has left to others.
 *
 * That these are done in the order of a search that has nobody to help it is what makes the parts the same as the
 * whole: see `parts.ts`.
 */
export interface Demand {
  /** The event before which others are to be tried. */
  readonly depth: number;
  /** One of these is to be tried: the first, if none of them is or need not be. */
  readonly oneOf?: readonly string[];
  /** All of these are. */
  readonly all?: readonly string[];
}

/**
 * What a demand comes to at its place.
 * @param settled the thread is tried there, or asleep because it was tried elsewhere
 */
export function toBeTried({ oneOf, all }: Demand, settled: (thread: string) => boolean): readonly string[] {
  if (!oneOf) return all ?? [];
  return oneOf.some(settled) ? [] : oneOf.slice(0, 1);
}
