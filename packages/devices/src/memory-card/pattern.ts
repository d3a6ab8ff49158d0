/**
 * The content of pages, and a sum over a memory that one write changes by what it changes. Words are 32 bits;
 * `index` is a word's place in the memory.
 */

/** Multipliers with good avalanche (the finalizer of MurmurHash3). */
const MIX_1 = 0x85ebca6b;
const MIX_2 = 0xc2b2ae35;

/** What a word adds to the sum. Depends on its place; a word of 0 adds nothing, so an empty memory's sum is 0. */
export function weight(index: number, word: number): number {
  let mixed = Math.imul(word, Math.imul(index, MIX_1) | 1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), MIX_2);
  return mixed ^ (mixed >>> 13);
}

/** The word that a page with this seed has at `index`. */
export function patternWord(index: number, seed: number): number {
  let mixed = Math.imul(index ^ Math.imul(seed, MIX_2), MIX_1);
  mixed = Math.imul(mixed ^ (mixed >>> 13), MIX_2);
  return mixed ^ (mixed >>> 16);
}

/** The sum over a part of a memory, as an unsigned number. */
export function sumOf(words: Int32Array, first: number, count: number): number {
  let sum = 0;
  for (let index = first; index < first + count; index++) sum = (sum + weight(index, words[index]!)) | 0;
  return sum >>> 0;
}
