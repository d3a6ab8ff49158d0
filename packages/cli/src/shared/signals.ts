import { constants } from "node:os";

/** A terminal that is gone (SIGHUP) ends a server as SIGTERM and Ctrl-C do: QEMU's own programs do the same. */
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Resolves with the first signal that asks this process to end. The second one ends it at once, whatever is left
 * to close.
 */
export function endSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first = true;
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (!first) process.exit(128 + constants.signals[signal]);
        first = false;
        resolve(signal);
      });
    }
  });
}
