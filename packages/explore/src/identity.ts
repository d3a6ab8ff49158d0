/** Node's AsyncLocalStorage, as much as is needed here. */
export interface AsyncIdentity<T> {
  run<R>(store: T, callback: () => R): R;
  getStore(): T | undefined;
}

interface ProcessLike {
  getBuiltinModule?(
    name: "node:async_hooks",
  ): { AsyncLocalStorage: new <T>() => AsyncIdentity<T> } | undefined;
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
