/** Time as a device sees it: a test or a simulation brings its own. */

import type { FunctionHost } from "@vfiokit/core";

export interface Timer {
  /** Expires once, `milliseconds` (fractions count) from now. A start while it runs replaces it. */
  start(milliseconds: number): void;
  stop(): void;
}

/** The time of a device: timers that a test can move. */
export interface Clock {
  timer(expired: () => void): Timer;
}

/** Timers, and the time of day that they go by. */
export interface WallClock extends Clock {
  /** Milliseconds, fractions too, since an origin that does not change. */
  now(): number;
}

/** Timers of a device: what one throws when it expires is a fault of the device, and not the end of the process. */
export function guardedClock(clock: Clock, host: Pick<FunctionHost, "guard">): Clock {
  return { timer: (expired) => clock.timer(host.guard("timer", expired)) };
}

/** The time of this process. Its timers fire late by up to a millisecond, as timers do. */
export const systemClock: WallClock = {
  now: () => performance.now(),
  timer(expired) {
    let handle: ReturnType<typeof setTimeout> | undefined;
    return {
      start(milliseconds) {
        clearTimeout(handle);
        handle = setTimeout(expired, milliseconds);
      },
      stop() {
        clearTimeout(handle);
        handle = undefined;
      },
    };
  },
};
