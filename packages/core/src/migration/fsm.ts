import { VfioError } from "../errno.js";

/** The migration states (VFIO uAPI: enum vfio_device_mig_state). */
export const MigrationState = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const;

export type MigrationState = (typeof MigrationState)[keyof typeof MigrationState];
/** VFIO_DEVICE_STATE_*, without the prefix. */
export type MigrationStateName = keyof typeof MigrationState;

/** What a device can do (VFIO uAPI: vfio_device_feature_migration.flags). */
export const MigrationFlags = {
  STOP_COPY: 1 << 0,
  P2P: 1 << 1,
  PRE_COPY: 1 << 2,
} as const;

const { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P } = MigrationState;

const stateNames = Object.keys(MigrationState) as MigrationStateName[];
const stateCount = stateNames.length;

/** "STOP_COPY" for 3; "state 12" for a number that is no state. */
export function migrationStateName(state: number): string {
  return stateNames[state] ?? `state ${state}`;
}

/** The single arcs, which a driver implements (VFIO uAPI: enum vfio_device_mig_state). All others combine these. */
const arcs: Readonly<Record<MigrationState, readonly MigrationState[]>> = {
  [ERROR]: [],
  [STOP]: [RUNNING_P2P, STOP_COPY, RESUMING],
  [RUNNING]: [RUNNING_P2P, PRE_COPY],
  [STOP_COPY]: [STOP],
  [RESUMING]: [STOP],
  [RUNNING_P2P]: [RUNNING, STOP, PRE_COPY_P2P],
  [PRE_COPY]: [RUNNING, PRE_COPY_P2P],
  [PRE_COPY_P2P]: [RUNNING_P2P, PRE_COPY, STOP_COPY],
};

/** The flags that a device needs to have a state at all. */
const needs: Readonly<Record<MigrationState, number>> = {
  [ERROR]: 0,
  [STOP]: MigrationFlags.STOP_COPY,
  [RUNNING]: MigrationFlags.STOP_COPY,
  [STOP_COPY]: MigrationFlags.STOP_COPY,
  [RESUMING]: MigrationFlags.STOP_COPY,
  [RUNNING_P2P]: MigrationFlags.STOP_COPY | MigrationFlags.P2P,
  [PRE_COPY]: MigrationFlags.STOP_COPY | MigrationFlags.PRE_COPY,
  [PRE_COPY_P2P]: MigrationFlags.STOP_COPY | MigrationFlags.P2P | MigrationFlags.PRE_COPY,
};

/** True for the states that share one saving session (VFIO uAPI: "saving group"). */
export function isSaving(state: MigrationState): boolean {
  return state === PRE_COPY || state === PRE_COPY_P2P || state === STOP_COPY;
}

/** True for the states that have a data-transfer session. */
export function hasSession(state: MigrationState): boolean {
  return isSaving(state) || state === RESUMING;
}

/** True if `state` is a number of the uAPI that a device with these flags can be in. */
export function isSupported(state: number, flags: number): state is MigrationState {
  const needed = needs[state as MigrationState] as number | undefined;
  return needed !== undefined && (flags & needed) === needed;
}

/** VFIO uAPI: a saved device cannot go back to pre-copy; it has to leave the session first. */
function isBlocked(from: MigrationState, to: MigrationState): boolean {
  return from === STOP_COPY && (to === PRE_COPY || to === PRE_COPY_P2P);
}

/**
 * The first state on the way from `from` to every other state, for a device with all optional states.
 *
 * VFIO uAPI: the shortest path wins, and it does not pass through the saving group on its way (a session would
 * be opened just to be closed). So breadth first, one round a path length; of the equally long paths to a
 * state the one through the fewest saving states is kept.
 */
function firstSteps(from: MigrationState): (MigrationState | undefined)[] {
  interface Path {
    readonly first: MigrationState;
    readonly saving: number;
  }
  const best = new Array<Path | undefined>(stateCount);
  let frontier = new Set<MigrationState>();
  for (const to of arcs[from]) {
    best[to] = { first: to, saving: 0 };
    frontier.add(to);
  }
  while (frontier.size > 0) {
    const round = new Map<MigrationState, Path>();
    for (const via of frontier) {
      const { first, saving } = best[via]!;
      for (const to of arcs[via]) {
        if (to === from || best[to]) continue;
        const path = { first, saving: saving + (isSaving(via) ? 1 : 0) };
        const rival = round.get(to);
        if (!rival || path.saving < rival.saving) round.set(to, path);
      }
    }
    for (const [to, path] of round) best[to] = path;
    frontier = new Set(round.keys());
  }
  return best.map((path, to) => (isBlocked(from, to as MigrationState) ? undefined : path?.first));
}

const steps = stateNames.map((_, from) => firstSteps(from as MigrationState));

/**
 * The state that a device in `current` goes to next on its way to `target`: `current` itself when it is there.
 * Optional states that the device's flags lack are passed over in one arc.
 *
 * @throws VfioError EINVAL when there is no way: to or from ERROR, from STOP_COPY back to PRE_COPY, to a number
 * that is no state or one that the device does not have.
 */
export function nextState(current: MigrationState, target: number, flags: number): MigrationState {
  if (!isSupported(target, flags)) {
    throw new VfioError(
      "EINVAL",
      `migration state ${migrationStateName(target)}: this device has no such state`,
    );
  }
  if (!isSupported(current, flags)) {
    throw new VfioError(
      "EINVAL",
      `migration state ${migrationStateName(current)} is not one of this device's`,
    );
  }
  if (current === ERROR || target === ERROR) {
    throw new VfioError(
      "EINVAL",
      current === ERROR
        ? "migration state ERROR: only a reset leads out of it"
        : "migration state ERROR cannot be asked for",
    );
  }
  let next: MigrationState = current;
  while (next !== target) {
    const step: MigrationState | undefined = steps[next]![target];
    if (step === undefined) {
      throw new VfioError(
        "EINVAL",
        `no migration arc leads from ${migrationStateName(current)} to ${migrationStateName(target)}`,
      );
    }
    next = step;
    if (isSupported(next, flags)) break;
  }
  return next;
}
