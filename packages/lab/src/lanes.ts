/** Lets so many things be under way at once. */
export class Lanes {
  readonly #urgent: (() => void)[] = [];
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** @param urgent before those that are not: what has been begun is to end, so that nothing large is left at the end */
  async run<T>(urgent: boolean, action: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((go) => (urgent ? this.#urgent : this.#waiting).push(go));
    try {
      return await action();
    } finally {
      const next = this.#urgent.shift() ?? this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
