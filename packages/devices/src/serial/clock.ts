/** Time, as the UART's receiver needs it for the character time-out. */

export interface Timer {
  /** Expires once, `milliseconds` (fractions count) from now. A start while it runs replaces it. */
  start(milliseconds: number): void;
  stop(): void;
}

export interface Clock {
  timer(expired: () => void): Timer;
}

/** The time of this process. Its timers fire late by up to a millisecond, as timers do. */
export const systemClock: Clock = {
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
