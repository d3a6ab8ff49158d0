import { Mutex, Shared, type Lock } from "@vfiokit/lockdep";

/**
 * Names of locks and variables that are the same in every execution. What the set-up made is counted. What is made
 * later is made in an order that depends on the schedule, so all of a class share one name: that only adds conflicts.
 */
export class Names {
  readonly #names = new Map<object, string>();
  readonly #locks = { from: nextLock(), to: Infinity };
  readonly #cells = { from: nextCell(), to: Infinity };

  endSetUp(): void {
    this.#locks.to = nextLock();
    this.#cells.to = nextCell();
  }

  of(object: Lock | Shared<unknown>): string {
    const known = this.#names.get(object);
    if (known !== undefined) return known;
    const [name, { from, to }] =
      "className" in object ? [object.className, this.#locks] : [object.name, this.#cells];
    const unique = object.id > from && object.id < to ? `${name}#${object.id - from}` : `${name}*`;
    this.#names.set(object, unique);
    return unique;
  }
}

const nextLock = (): number => new Mutex("").id;
const nextCell = (): number => new Shared("", 0).id;
