import { ForeignLock, within } from "../instrument/index.js";

/** What p-limit makes, as far as it is called here. */
export interface LimitFunction {
  readonly activeCount: number;
  readonly pendingCount: number;
  concurrency: number;
  <A extends unknown[], R>(fn: (...args: A) => PromiseLike<R> | R, ...args: A): Promise<R>;
}

/**
 * Has the validator watch a limit of one at a time, which is a lock. More than one at a time have no order, as long
 * as the limit lasts, and are left alone.
 * @returns the limit, to be used in its place
 */
export function instrumentLimit<L extends LimitFunction>(limit: L, { name }: { readonly name: string }): L {
  const lock = new ForeignLock(name);
  return new Proxy(limit, {
    apply(target, _, [fn, ...args]: [(...args: unknown[]) => unknown, ...unknown[]]) {
      if (target.concurrency !== 1) return target(fn, ...args);
      return within([lock], {}, fn, (wrapped) => target(wrapped, ...args));
    },
  });
}
