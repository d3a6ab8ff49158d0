/** Limits of each scenario's exploration; without one of them a verdict is a proof. */
export interface Bounds {
  /** Executions of one scenario under one design. Default: no limit. */
  readonly executions?: number;
  /** Switches away from a task that could go on, in one execution. Default: no limit. */
  readonly preemptions?: number;
}
