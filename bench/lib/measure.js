/**
 * @typedef {object} Row
 * @property {string} what
 * @property {number} ours
 * @property {number} baseline
 * @property {number} ratio ours / baseline
 * @property {string} unit
 */

/** @param {number[]} values */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/**
 * Compares two things by taking turns, since absolute times mean little on a machine that does other work too:
 * each pair of turns gives one ratio, and the median of the ratios is the result.
 *
 * @param {string} what
 * @param {string} unit
 * @param {number} turns
 * @param {() => Promise<number>} ours
 * @param {() => Promise<number>} baseline
 * @returns {Promise<Row>}
 */
export async function takeTurns(what, unit, turns, ours, baseline) {
  const pairs = [];
  for (let i = 0; i < turns; i++) {
    // Who goes first changes too.
    if (i % 2) pairs.push({ baseline: await baseline(), ours: await ours() });
    else pairs.push({ ours: await ours(), baseline: await baseline() });
  }
  return {
    what,
    ours: median(pairs.map((pair) => pair.ours)),
    baseline: median(pairs.map((pair) => pair.baseline)),
    ratio: median(pairs.map((pair) => pair.ours / pair.baseline)),
    unit,
  };
}
