import { ForeignLock } from "./foreign-lock.js";

/** The class of a lock by its key: what tells instances apart, numbers and UUIDs, is left out. */
export function classOfKey(key: string): string {
  return key.replace(/[\da-f]{8}-(?:[\da-f]{4}-){3}[\da-f]{12}|\d+/gi, "*");
}

/** Locks that exist by their keys only, as long as somebody has them or wants them. */
export class KeyedLocks {
  readonly #locks = new Map<string, ForeignLock>();

  constructor(private readonly classOf: (key: string) => string) {}

  of(key: string): ForeignLock {
    const known = this.#locks.get(key);
    if (known) return known;
    if (this.#locks.size >= 1024)
      for (const [other, lock] of this.#locks) if (lock.idle) this.#locks.delete(other);
    const lock = new ForeignLock(this.classOf(key), key);
    this.#locks.set(key, lock);
    return lock;
  }
}
