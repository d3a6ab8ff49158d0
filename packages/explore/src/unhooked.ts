interface Platform {
  readonly process?: { getBuiltinModule?(name: string): Record<string, unknown> | undefined };
  readonly WebAssembly?: object;
  readonly Atomics?: object;
  readonly MessagePort?: { readonly prototype: object };
}
const platform = globalThis as unknown as Platform;

/**
 * Functions whose answers the world outside gives without a hook that tells of it: the engine's own threads, workers.
 * With the objects that have them, where the platform has these.
 */
export function unhooked(): readonly (readonly [object, string])[] {
  const { WebAssembly, Atomics, MessagePort, process } = platform;
  const threads = process?.getBuiltinModule?.("node:worker_threads") as
    { readonly Worker: { readonly prototype: object } } | undefined;
  const all: readonly (readonly [object | undefined, readonly string[]])[] = [
    [WebAssembly, ["compile", "instantiate", "compileStreaming", "instantiateStreaming"]],
    [Atomics, ["waitAsync"]],
    [MessagePort?.prototype, ["postMessage"]],
    [threads?.Worker.prototype, ["postMessage"]],
  ];
  return all.flatMap(([object, names]) => (object ? names.map((name) => [object, name] as const) : []));
}
