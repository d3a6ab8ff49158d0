import { within } from "../instrument/foreign-lock.js";
import { classOfKey, KeyedLocks } from "../instrument/keyed.js";
import { withMethods } from "../instrument/with-methods.js";

interface LockOptions {
  readonly mode?: "exclusive" | "shared";
  readonly ifAvailable?: boolean;
  readonly steal?: boolean;
  readonly signal?: AbortSignal;
}

/** A LockManager, as far as it is called here. */
export interface Locks {
  request(name: string, ...rest: never[]): Promise<unknown>;
}

type Callback = (lock: unknown) => unknown;

/**
 * Has the validator watch `navigator.locks`: the lock "user:17" is of the class "user:*". It sees this thread's
 * requests; what other tabs, workers and processes hold, it does not know.
 * @returns the manager, to be used in its place
 */
export function instrumentLocks<L extends Locks>(manager: L): L {
  const locks = new KeyedLocks(classOfKey);
  const plain = manager.request.bind(manager) as unknown as (
    name: string,
    options: LockOptions,
    callback: Callback,
  ) => Promise<unknown>;
  const request = (name: string, ...rest: [Callback] | [LockOptions, Callback]): Promise<unknown> => {
    const [options, callback] = rest.length === 1 ? [{}, rest[0]] : rest;
    const { mode, ifAvailable, steal, signal } = options;
    const how = {
      shared: mode === "shared",
      trylock: ifAvailable === true || steal === true,
      bounded: signal && ("signal" as const),
    };
    // Not given, the callback runs without the lock: it holds nothing.
    return within([locks.of(name)], how, callback, (wrapped) =>
      plain(name, options, (lock) => (lock === null ? callback(null) : wrapped(lock))),
    );
  };
  return withMethods(manager, { request });
}
