import { ForeignLock, within } from "../instrument/index.js";
import { withMethods } from "../instrument/with-methods.js";

/** What p-queue makes, as far as it is called here. */
export interface Queue {
  readonly concurrency: number;
  add(fn: (options: never) => unknown, options?: never): Promise<unknown>;
}

/**
 * Has the validator watch `add` of a queue that runs one at a time, which is a lock. More than one at a time have no
 * order, and are left alone. `addAll` adds one by one.
 * @returns the queue, to be used in its place
 */
export function instrumentQueue<Q extends Queue>(queue: Q, { name }: { readonly name: string }): Q {
  const lock = new ForeignLock(name);
  const add = (
    fn: (options: never) => unknown,
    options?: { readonly timeout?: number; readonly signal?: AbortSignal },
  ) => {
    if (queue.concurrency !== 1) return queue.add(fn, options as never);
    return within([lock], { bounded: options?.signal ? "signal" : undefined }, fn, (wrapped) =>
      queue.add(wrapped, options as never),
    );
  };
  const addAll = (fns: readonly ((options: never) => unknown)[], options?: object) =>
    Promise.all(fns.map((fn) => add(fn, options)));
  return withMethods(queue, { add, addAll });
}
