import { isHolding } from "./callbacks.js";

declare global {
  interface ErrorConstructor {
    stackTraceLimit: number;
  }
}

interface AsyncHook {
  enable(): void;
  disable(): void;
}

interface ProcessLike {
  getBuiltinModule?(name: "node:async_hooks"):
    | {
        createHook?(callbacks: {
          init(id: number, type: string, triggerId: number, resource: object): void;
        }): AsyncHook;
        readonly AsyncResource: abstract new () => object;
      }
    | undefined;
}

/** What goes on by itself, when all that is ready has run: nothing outside decides. */
const INSIDE: ReadonlySet<string> = new Set(["PROMISE", "TickObject", "Microtask"]);

/** Writes to the console, or reports of the validator's, on which no task waits. */
export function isOnlyTold(): boolean {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 50;
  const { stack = "" } = new Error();
  Error.stackTraceLimit = before;
  return /node:internal\/console|[\\/]lockdep[\\/](?:src|dist)[\\/]validator/.test(stack);
}

/**
 * Calls `begun` when a task begins something that the world outside ends: a real timer, a request, a read of a file.
 * @returns what ends that, or undefined where nothing tells
 */
export function watchOutside(
  isTask: () => boolean,
  begun: () => void,
  queued: () => void,
): (() => void) | undefined {
  const { process } = globalThis as unknown as { process?: ProcessLike };
  const hooks = process?.getBuiltinModule?.("node:async_hooks");
  const hook = hooks?.createHook?.({
    init: (_id, type, _triggerId, resource) => {
      if (type === "PROMISE" || !isTask()) return;
      if (INSIDE.has(type)) {
        if (!isHolding() && !isOnlyTold()) queued();
        return;
      }
      // A library's own, to keep its callers' contexts: what it waits for comes by a way of its own.
      if (resource instanceof hooks.AsyncResource || isOnlyTold()) return;
      begun();
    },
  });
  hook?.enable();
  return hook && (() => hook.disable());
}
