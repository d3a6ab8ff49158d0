import type { Picker } from "./execution.js";
import type { Thread } from "./thread.js";

/** A small generator with a known sequence for a seed on every machine (xorshift32). */
export function generator(seed: number): () => number {
  let state = mix(seed) || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Seeds that are close to each other begin sequences that are not (the finaliser of MurmurHash3). */
function mix(seed: number): number {
  let mixed = seed | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

/** Any thread, with equal chances. */
export function randomPicker(seed: number): Picker {
  const random = generator(seed);
  return (enabled) => enabled[Math.floor(random() * enabled.length)];
}

/**
 * Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): threads have random priorities, and at `depth` - 1
 * random events the one that runs falls to the bottom. Finds a bug of that depth with a known probability.
 */
export function pctPicker(seed: number, depth: number, expectedEvents: number): Picker {
  const random = generator(seed);
  const changes = new Set(Array.from({ length: depth - 1 }, () => Math.floor(random() * expectedEvents)));
  const priorities = new Map<string, number>();
  let lowest = 0;
  const priority = ({ key }: Thread): number => {
    const known = priorities.get(key);
    if (known !== undefined) return known;
    const drawn = 1 + random();
    priorities.set(key, drawn);
    return drawn;
  };
  return (enabled, events) => {
    const highest = (): Thread =>
      enabled.reduce((best, other) => (priority(other) > priority(best) ? other : best));
    if (changes.has(events.length)) priorities.set(highest().key, --lowest);
    return highest();
  };
}
