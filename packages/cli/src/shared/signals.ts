import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { signalWhenParentDies } from "@vfiokit/user/linux";

/** A terminal that is gone (SIGHUP) ends a server as SIGTERM and Ctrl-C do: QEMU's own programs do the same. */
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Resolves with the first signal that asks this process to end. The second one ends it at once, whatever is left
 * to close.
 */
export function endSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    if (parentIsShell() && !signalWhenParentDies(constants.signals.SIGTERM)) resolve("SIGTERM");
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

/**
 * `npx vfiokit …` and npm's scripts run a command by "sh -c". npm passes SIGTERM on to that shell, which ends, and not to
 * what it runs.
 */
function parentIsShell(): boolean {
  if (process.env["npm_lifecycle_event"] === undefined) return false;
  try {
    return /^[^\0]*sh\0-c\0/.test(readFileSync(`/proc/${process.ppid}/cmdline`, "latin1"));
  } catch {
    return false;
  }
}
