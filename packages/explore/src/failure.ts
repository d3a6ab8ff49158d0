/** Why an execution is a failure. */
export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
}

/** What went wrong in an execution. */
export type FailureKind =
  /** Tasks wait for each other's locks. */
  | "deadlock"
  /** A task waits for something that nobody is left to do. */
  | "lost-wakeup"
  /** More events than the bound allows: a loop that makes no progress, perhaps. */
  | "livelock"
  /** A task, an invariant or a final check threw. */
  | "assertion"
  /** A promise was rejected and nobody looked. */
  | "unhandled-rejection"
  /** A callback threw, and nobody caught it: Node would have ended the process. */
  | "uncaught-exception"
  /** The validator of lock orders reported a problem. */
  | "lockdep";
