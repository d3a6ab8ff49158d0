import { VfioError } from "@vfiokit/core";
import { MigrationState, type MigrationStateName } from "@vfiokit/core/migration";
import type { VfioDevice } from "@vfiokit/user";
import { Feature, FeatureMigState } from "@vfiokit/user/wire";

/** States that a device can be taken to. */
export const STATES = [
  "STOP",
  "RUNNING",
  "STOP_COPY",
  "RESUMING",
  "RUNNING_P2P",
  "PRE_COPY",
  "PRE_COPY_P2P",
] as const satisfies readonly MigrationStateName[];
/** Those that it cannot: ERROR, and numbers that stand for none. */
export const NEVER = { ERROR: MigrationState.ERROR, "8": 8, "-1": 0xffff_ffff } as const;
const WITH_SESSION: ReadonlySet<string> = new Set(["STOP_COPY", "RESUMING", "PRE_COPY", "PRE_COPY_P2P"]);

/** What came of one request: "ok" or an errno, and the state afterwards. */
export interface Outcome {
  readonly answer: string;
  readonly state: string;
}

/** What a device does in every state that it is asked in. */
export interface ArcMatrix {
  /** From, to: both by name. */
  readonly arcs: Readonly<Record<string, Readonly<Record<string, Outcome>>>>;
  /** What a reset does in each state, and what the data session says afterwards where there was one. */
  readonly resets: Readonly<Record<string, Outcome & { readonly session?: string }>>;
}

/**
 * Asks a device for every arc, and resets it in every state. It is RUNNING before each question, and at the end.
 * Of states that it does not have there is a column, and no row.
 */
export async function arcMatrix(device: VfioDevice): Promise<ArcMatrix> {
  const { migration } = device;
  const state = () => migration.state();
  const outcome = async (act: Promise<unknown>): Promise<Outcome> => ({
    answer: await answerOf(act),
    state: await state(),
  });
  const from = async (name: MigrationStateName): Promise<void> => {
    await device.reset();
    if (name !== "RUNNING") await migration.setState(name);
  };
  const setNumber = (number: number) =>
    migration.set(Feature.MIG_DEVICE_STATE, FeatureMigState.encode({ device_state: number, data_fd: -1 }));

  const arcs: Record<string, Record<string, Outcome>> = {};
  const resets: Record<string, Outcome & { session?: string }> = {};
  for (const name of STATES) {
    if ((await answerOf(from(name))) !== "ok") continue;
    const row: Record<string, Outcome> = (arcs[name] = {});
    for (const to of STATES) {
      await from(name);
      row[to] = await outcome(migration.setState(to));
    }
    for (const [to, number] of Object.entries(NEVER)) {
      await from(name);
      row[to] = await outcome(setNumber(number));
    }
    await from(name);
    const reset = await outcome(device.reset());
    const use = () => (name === "RESUMING" ? migration.write(Uint8Array.of(0)) : migration.read(16));
    resets[name] = WITH_SESSION.has(name) ? { ...reset, session: await answerOf(use()) } : reset;
  }
  await device.reset();
  return { arcs, resets };
}

async function answerOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return "ok";
  } catch (error) {
    if (error instanceof VfioError) return error.code;
    throw error;
  }
}
