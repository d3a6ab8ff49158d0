/** Node's AsyncLocalStorage, as much as is needed here. */
export interface AsyncIdentity<T> {
  run<R>(store: T, callback: () => R): R;
  getStore(): T | undefined;
}

interface ProcessLike {
  getBuiltinModule?(name: "node:async_hooks"): AsyncHooks | undefined;
}

interface AsyncHooks {
  readonly AsyncLocalStorage: new <T>() => AsyncIdentity<T>;
  executionAsyncId?(): number;
  executionAsyncResource?(): object;
}

let identity: AsyncIdentity<unknown> | undefined;

/**
 * Tells which task a promise's continuation belongs to, where the platform can (Node, Deno, Bun). There is one for all
 * explorations of a process: Node 20 and 22 hand on each that was ever used, with every promise that is made.
 */
export function asyncIdentity<T>(): AsyncIdentity<T> | undefined {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  const hooks = process?.getBuiltinModule?.("node:async_hooks");
  identity ??= hooks && new hooks.AsyncLocalStorage<unknown>();
  return identity as AsyncIdentity<T> | undefined;
}

/** The platform has called, for a timer or a request of somebody's, and not a promise that has settled. */
export function isPlatformCallback(): boolean {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  const hooks = process?.getBuiltinModule?.("node:async_hooks");
  if (!hooks?.executionAsyncId || hooks.executionAsyncId() === 0) return false;
  return !(hooks.executionAsyncResource?.() instanceof Promise);
}
