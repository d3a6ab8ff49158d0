type Method = (this: unknown, ...args: unknown[]) => unknown;

/** What queues callbacks that run after the present piece. */
const QUEUES: readonly { readonly of: () => object | undefined; readonly name: string }[] = [
  { of: () => (globalThis as { process?: object }).process, name: "nextTick" },
  { of: () => globalThis, name: "queueMicrotask" },
];

let holding = 0;

/** A callback is queued just now whose run is held back. */
export function isHolding(): boolean {
  return holding > 0;
}

/**
 * Holds back what is passed to `process.nextTick` and `queueMicrotask`: it keeps its place in the real queue, and what
 * comes of it there is up to `hold`.
 * @param hold what is queued instead of the callback. Undefined: the callback
 * @returns what puts the functions back
 */
export function holdCallbacks(hold: (run: () => void) => (() => void) | undefined): () => void {
  const undo = QUEUES.flatMap(({ of, name }) => {
    const object = of();
    const before = object && Object.getOwnPropertyDescriptor(object, name);
    const real = before?.value as Method | undefined;
    if (!object || typeof real !== "function" || !before?.configurable) return [];
    const value: Method = function (callback, ...args) {
      const held =
        typeof callback === "function"
          ? hold(() => void Reflect.apply(callback, undefined, args))
          : undefined;
      holding++;
      try {
        return held ? Reflect.apply(real, this, [held]) : Reflect.apply(real, this, [callback, ...args]);
      } finally {
        holding--;
      }
    };
    Object.defineProperty(object, name, { ...before, value });
    return [() => void Object.defineProperty(object, name, before)];
  });
  return () => {
    for (const each of undo) each();
  };
}
