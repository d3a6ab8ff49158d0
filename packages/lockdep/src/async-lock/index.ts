import { within } from "../instrument/foreign-lock.js";
import { classOfKey, KeyedLocks } from "../instrument/keyed.js";
import { withMethods } from "../instrument/with-methods.js";

/** What async-lock makes, as far as it is called here. */
export interface KeyedLock {
  acquire(key: never, fn: never, ...rest: never[]): unknown;
}

type Done = (error?: Error | null, result?: unknown) => void;
type Callback = (done: Done) => unknown;
type Acquire = (key: string | readonly string[], fn: Callback, options?: object) => Promise<unknown>;

/**
 * Has the validator watch the locks of an AsyncLock: that of key "user:17" is of the class "NAME user:*". Of several
 * keys the locks are taken in the order given, as async-lock does.
 * `options.name` is what the classes begin with.
 * @returns the lock, to be used in its place
 */
export function instrumentAsyncLock<L extends KeyedLock>(lock: L, { name }: { readonly name: string }): L {
  const locks = new KeyedLocks((key) => `${name} ${classOfKey(key)}`);
  const promised = lock.acquire.bind(lock) as unknown as Acquire;
  const acquire = (
    key: string | readonly string[],
    fn: Callback,
    ...rest: [Done?, object?] | [object?]
  ): Promise<unknown> | undefined => {
    const done = typeof rest[0] === "function" ? (rest[0] as Done) : undefined;
    const options = (done ? rest[1] : (rest[0] ?? rest[1])) as { readonly timeout?: number } | undefined;
    const keys = typeof key === "string" ? [key] : key;
    // A function that takes a parameter calls it when it is done; else it returns a promise, or its result.
    const body = (): unknown =>
      fn.length === 0
        ? fn(() => undefined)
        : new Promise((resolve, reject) => {
            fn((error, result) => {
              if (error) reject(error);
              else resolve(result);
            });
          });
    const result = within(
      keys.map((each) => locks.of(each)),
      { bounded: options?.timeout ? "time limit" : undefined },
      body,
      (wrapped) => promised(key, () => wrapped(), options),
    );
    if (!done) return result;
    result.then(
      (value) => done(undefined, value),
      (error: unknown) => done(error as Error),
    );
    return undefined;
  };
  return withMethods(lock, { acquire });
}
