import { runTask } from "./run-task.js";

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- any function: its parameters are passed on as they are
type AnyFunction = (this: any, ...args: any[]) => any;

/**
 * The function, each call of it a task: for existing functions that use locks and name no task.
 *
 * `const refresh = traced(async function refresh() { … })`, or as a decorator of a method: `@traced refresh() { … }`.
 * Called within a task, it counts as awaited by that.
 */
export function traced<F extends AnyFunction>(fn: F, context?: ClassMethodDecoratorContext | string): F {
  const name = typeof context === "string" ? context : String(context?.name ?? (fn.name || "traced"));
  const wrapped = function (this: unknown, ...args: unknown[]): unknown {
    return runTask(name, () => fn.apply(this, args) as unknown);
  };
  Object.defineProperty(wrapped, "name", { value: fn.name, configurable: true });
  return wrapped as F;
}
