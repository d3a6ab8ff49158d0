import type { EndpointDescription } from "./endpoint.js";

/** The phases of a migration, in their order: docs/migration.md. */
export const migratePhases = [
  "check",
  "precopy",
  "stop",
  "stop-copy",
  "prepare",
  "give",
  "activate",
  "done",
] as const;
/** Where a migration is. */
export type MigratePhase = (typeof migratePhases)[number];

/** How to migrate: limits in milliseconds and in bytes a second, and who hears of it. */
export interface MigrateOptions {
  /** Names this migration in the hand-over, at both ends: `newHandOverId` of the source. Default: that. */
  readonly id?: string;
  /** Stop as soon as the rest is expected to take no longer than this. Milliseconds. */
  readonly maxDowntime_ms: number;
  /** Stop after so many pre-copy rounds, whatever the rest takes. 0: no pre-copy. */
  readonly maxRounds: number;
  /** Most bytes per second, also while the device is stopped. Default: no limit. */
  readonly bandwidth_Bps?: number | undefined;
  /** How often the image may be begun again, after resets of either device. Default 3. */
  readonly maxRestarts?: number | undefined;
  /** Cancels the migration, up to `give`: the source runs on. From then on it is completed. */
  readonly signal?: AbortSignal | undefined;
  /** Only checks whether the two ends fit. */
  readonly dryRun?: boolean | undefined;
  readonly hooks?: MigrateHooks | undefined;
  /** Default: the real one. */
  readonly clock?: MigrateClock | undefined;
}

/** What happens around a migration. One that throws makes it fail, up to `give`. */
export interface MigrateHooks {
  /** The device is about to be stopped: from now on nobody may access it. Before each attempt. */
  beforeStop?(): void | Promise<void>;
  /** The source runs again after a stop that did not succeed: a reset, an error, cancellation. */
  afterResume?(): void | Promise<void>;
  /** The target runs. */
  afterActivate?(): void | Promise<void>;
  /** Called at every point of every phase, as "stop-copy:write:17": phase, step, running number. For tests. */
  fault?(point: string): void | Promise<void>;
}

/** The time that a migration goes by, in milliseconds. */
export interface MigrateClock {
  /** Milliseconds, from any beginning. */
  now(): number;
  /** @throws the signal's reason */
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>;
}

/** What is told while it goes on. Each is one line of `vfiokit migrate --json`. */
export type MigrateEvent =
  | { readonly event: "phase"; readonly phase: MigratePhase }
  | {
      readonly event: "check";
      readonly id: string;
      readonly source: EndpointDescription;
      readonly target: EndpointDescription;
      /** The device is copied while it runs. */
      readonly precopy: boolean;
      /** A migration client that is killed can be recovered from: both ends take part in the hand-over. */
      readonly recoverable: boolean;
    }
  | ({ readonly event: "progress" } & MigrateProgress)
  | ({ readonly event: "round" } & MigrateProgress)
  | { readonly event: "restart"; readonly restarts: number; readonly reason: string }
  | { readonly event: "warning"; readonly message: string }
  | ({ readonly event: "done" } & MigrateResult);

/** How far a migration has come, in bytes and milliseconds. */
export interface MigrateProgress {
  readonly phase: "precopy" | "stop-copy";
  /** From 1; of this image. 0 without pre-copy. */
  readonly round: number;
  /** Bytes sent so far, those of images that were begun again included. */
  readonly bytes: number;
  /** Bytes still to be sent: as the source estimated at the end of the last round, less what was sent since. Undefined where
   * it does not tell. */
  readonly remaining: number | undefined;
  /** Bytes per second, measured; undefined before anything was sent. */
  readonly rate_Bps: number | undefined;
  /** Bytes per second that the device changed in the last round; undefined before there was one. */
  readonly dirtyRate_Bps: number | undefined;
  /** What stopping now is expected to cost. Undefined before anything was sent. */
  readonly expectedDowntime_ms: number | undefined;
}

/** Why pre-copy ended. */
export type PrecopyEnd =
  /** The expected downtime is within the limit. */
  | "converged"
  /** `maxRounds` were done. */
  | "rounds"
  /** All that can be sent while the device runs has been. */
  | "nothing-left"
  /** There was none: a device cannot do it, or `maxRounds` is 0. */
  | "none";

/** What a migration cost, in bytes and milliseconds. */
export interface MigrateResult {
  readonly id: string;
  /** "compatible": `dryRun` has found nothing against it. */
  readonly status: "migrated" | "compatible";
  readonly bytes: number;
  /** Of these, bytes sent while the device was stopped for good. */
  readonly stopCopyBytes: number;
  readonly rounds: number;
  readonly restarts: number;
  readonly precopyEnd: PrecopyEnd;
  /** From the moment the source was told to stop until the target ran. */
  readonly downtime_ms: number;
  /** What it was expected to be, when the source was stopped; undefined without pre-copy, and where the source does not tell. */
  readonly expectedDowntime_ms: number | undefined;
  readonly total_ms: number;
}
