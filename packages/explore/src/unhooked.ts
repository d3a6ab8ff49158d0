type Method = (this: unknown, ...args: unknown[]) => unknown;

interface Platform {
  readonly process?: { getBuiltinModule?(name: string): Record<string, unknown> | undefined };
  readonly WebAssembly?: object;
  readonly Atomics?: object;
  readonly MessagePort?: { readonly prototype: object };
}
const platform = globalThis as unknown as Platform;

/** What the world outside answers without a hook that tells of it: of the engine's own threads, of workers. */
const UNHOOKED: readonly { readonly of: () => object | undefined; readonly names: readonly string[] }[] = [
  {
    of: () => platform.WebAssembly,
    names: ["compile", "instantiate", "compileStreaming", "instantiateStreaming"],
  },
  { of: () => platform.Atomics, names: ["waitAsync"] },
  { of: () => platform.MessagePort?.prototype, names: ["postMessage"] },
  {
    of: () =>
      (
        platform.process?.getBuiltinModule?.("node:worker_threads")?.["Worker"] as
          { readonly prototype: object } | undefined
      )?.prototype,
    names: ["postMessage"],
  },
];

/**
 * @param begun is called when anybody begins such a thing
 * @returns what puts the functions back
 */
export function watchUnhooked(begun: () => void): () => void {
  const undo = UNHOOKED.flatMap(({ of, names }) => {
    const object = of();
    return object ? names.flatMap((name) => watched(object, name, begun)) : [];
  });
  return () => {
    for (const each of undo) each();
  };
}

function watched(object: object, name: string, begun: () => void): (() => void)[] {
  const before = Object.getOwnPropertyDescriptor(object, name);
  const real = before?.value as Method | undefined;
  if (typeof real !== "function" || !before?.configurable) return [];
  const value: Method = function (...args) {
    begun();
    return Reflect.apply(real, this, args);
  };
  Object.defineProperty(object, name, { ...before, value });
  return [() => void Object.defineProperty(object, name, before)];
}
