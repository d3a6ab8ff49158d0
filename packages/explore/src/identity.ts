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

/** Tells which task a promise's continuation belongs to, where the platform can (Node, Deno, Bun). */
export function asyncIdentity<T>(): AsyncIdentity<T> | undefined {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  const hooks = process?.getBuiltinModule?.("node:async_hooks");
  return hooks && new hooks.AsyncLocalStorage<T>();
}
