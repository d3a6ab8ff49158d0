import type { Elsewhere, LabPart, LabPartResult } from "@vfiokit/lab";

/** Threads that explore parts: there can be one exploration at a time in each. */
export interface Threads extends Elsewhere, AsyncDisposable {}

/** Starts a pool. An aborted part takes its thread with it, and another is started. */
export async function startThreads(count: number): Promise<Threads> {
  const { Piscina } = await import("piscina"); // not before it is needed: commands start quickly
  const pool = new Piscina<LabPart, LabPartResult>({
    filename: new URL("./thread.js", import.meta.url).href,
    name: "explorePart",
    minThreads: count,
    maxThreads: count,
  });
  return {
    parts: 2 * count, // so that none waits for the coordinator
    run: (part, signal) => pool.run(part, { signal }),
    [Symbol.asyncDispose]: () => pool.destroy(),
  };
}
