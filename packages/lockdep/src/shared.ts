import { scheduler } from "./scheduler.js";

let cells = 0;

/**
 * A variable that several tasks use. It behaves as a plain field; where interleavings are explored, its reads and
 * writes tell which orders of the tasks can make a difference.
 */
export class Shared<T> {
  /** Counts up from 1. */
  readonly id = ++cells;
  #value: T;

  constructor(
    readonly name: string,
    value: T,
  ) {
    this.#value = value;
  }

  get value(): T {
    scheduler?.read(this);
    return this.#value;
  }

  set value(value: T) {
    scheduler?.written(this);
    this.#value = value;
  }
}
