/** Time as the explored program sees it: it passes only when a timer fires. */
export interface VirtualClock {
  /** Milliseconds since the execution began. */
  now(): number;
  /** Goes on when the time has come; until then, whoever else can run may run first. */
  sleep(milliseconds: number): Promise<void>;
  /**
   * Calls back when the time has come.
   * @param list those that a task sets in one list fire in the order in which they were set
   */
  setTimeout(callback: () => void, milliseconds: number, list?: string): TimerHandle;
  clearTimeout(timer: TimerHandle | undefined): void;
}

/** A timer of the virtual clock. */
export interface TimerHandle {
  /** The virtual time at which it fires. */
  readonly deadline: number;
}

/** What timers and sleepers touch: setting one can change which fires first. */
export const CLOCK = "clock";
