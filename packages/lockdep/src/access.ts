/**
 * How a lock is taken, as the validator counts it (Linux: hlock->read). A number, since it is part of the key by
 * which a chain of holds is recognised.
 */
export const EXCLUSIVE = 0;
/** Shared, and fair: waits behind a writer that waits. */
export const READ = 1;
/** Shared, and never behind a writer that only waits: may be taken again by its holder. */
export const READ_RECURSIVE = 2;

/** How an acquisition excludes others: all of them, writers, or writers that do not wait yet. */
export type Access = typeof EXCLUSIVE | typeof READ | typeof READ_RECURSIVE;
