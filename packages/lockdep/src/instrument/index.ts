import { Acquisition, beginAcquisition } from "../node/acquisition.js";
import { ForeignLock, type Asked, type Asking } from "./foreign-lock.js";
import { classOfKey, KeyedLocks } from "./keyed.js";

export { ForeignLock, within, type Asked, type Asking } from "./foreign-lock.js";
export { classOfKey, KeyedLocks } from "./keyed.js";

/** What a foreign lock is called, and how it is taken and released. */
export interface InstrumentOptions {
  /** The class of the lock, in reports; for a lock by keys what its classes begin with. */
  readonly name: string;
  /** The method that takes the lock and returns a promise. Default "acquire". */
  readonly acquire?: string;
  /** The method that lets go, of the lock or of what `acquire` gave: default "release". */
  readonly release?: string;
  /**
   * Which locks a call takes, by its arguments: of a manager of many locks. Default: the one lock.
   * `["user:17"]` is the lock user:17, of the class "NAME user:*".
   */
  readonly keys?: (...args: never[]) => readonly string[];
  /** Whether the call's wait ends by itself. Default: no. */
  readonly bounded?: (...args: never[]) => Asking["bounded"];
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/**
 * Has the validator watch a lock of any library: an object with a method that takes it and one that lets go.
 *
 * What the first resolves to may be a function that lets go, an array whose last element is one, an object with the
 * method that lets go, or nothing: then the lock itself has it.
 * @returns the lock, to be used in its place
 */
export function instrument<T extends object>(lock: T, options: InstrumentOptions): T {
  const { name, acquire = "acquire", release = "release" } = options;
  const single = new ForeignLock(name);
  const keyed = new KeyedLocks((key) => `${name} ${classOfKey(key)}`);
  const locksOf = (args: unknown[]): ForeignLock[] =>
    options.keys ? options.keys(...(args as never[])).map((key) => keyed.of(key)) : [single];
  /** What is held, by what `acquire` gave, where that is an object; and what is released by calling the lock. */
  const held = new WeakMap<object, Asked[]>();
  const unnamed: Asked[][] = [];

  const letGo = (all: Asked[]): void => {
    for (const asked of all) {
      asked.released();
      if (asked.task instanceof Acquisition) asked.task.leave();
    }
  };

  const wrapFunction = (free: Method, all: Asked[]): Method =>
    function (this: unknown, ...args) {
      letGo(all);
      return free.apply(this, args);
    };

  /** What `acquire` resolved to, so that letting go is seen. */
  const wrapAnswer = (answer: unknown, all: Asked[]): unknown => {
    if (typeof answer === "function") return wrapFunction(answer as Method, all);
    if (Array.isArray(answer) && typeof answer.at(-1) === "function")
      return [...(answer as unknown[]).slice(0, -1), wrapFunction(answer.at(-1) as Method, all)];
    if (typeof answer === "object" && answer !== null) {
      held.set(answer, all);
      const free = (answer as Record<string, unknown>)[release];
      // In place: `lock.release(answer)` must find the very object.
      if (typeof free === "function")
        Object.defineProperty(answer, release, {
          value: wrapFunction(free as Method, all),
          configurable: true,
          writable: true,
        });
      return answer;
    }
    unnamed.push(all);
    return answer;
  };

  const take = async (method: Method, args: unknown[]): Promise<unknown> => {
    const how: Asking = { bounded: options.bounded?.(...(args as never[])) };
    const acquisition = beginAcquisition("acquire()");
    const all: Asked[] = [];
    try {
      const locks = locksOf(args);
      for (const each of locks) all.push(each.ask(acquisition, how));
      const [first] = all;
      const pending = Promise.resolve(method.apply(lock, args));
      const answer = await (first ? first.orBroken(pending) : pending);
      for (const each of all) each.granted();
      acquisition.answered = true;
      return wrapAnswer(answer, all);
    } catch (error) {
      for (const each of all) each.failed(error);
      acquisition.leave();
      throw error;
    }
  };

  return new Proxy(lock, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      const method = value as Method;
      if (key === acquire) return (...args: unknown[]) => take(method, args);
      if (key === release)
        return (...args: unknown[]) => {
          const [answer] = args;
          const known = typeof answer === "object" && answer !== null ? held.get(answer) : unnamed.shift();
          if (known) letGo(known);
          return method.apply(target, args);
        };
      return method.bind(target);
    },
  });
}
