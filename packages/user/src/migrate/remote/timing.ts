/** How long the sides wait for each other. All in milliseconds. */
export interface Timing {
  /** For a connection, its handshake, and HELLO or WELCOME after it. */
  readonly hello_ms: number;
  /** A side that has nothing to say says so this often. */
  readonly alive_ms: number;
  /** A side that says nothing for so long is gone. */
  readonly idle_ms: number;
}

export const defaultTiming: Timing = { hello_ms: 10_000, alive_ms: 5_000, idle_ms: 20_000 };
