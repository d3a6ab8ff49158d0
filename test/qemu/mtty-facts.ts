import { NEVER, STATES, type ArcMatrix, type Outcome } from "./arcs.js";

/** What mtty answered on Linux 7.3 (x86-64, Debian's kernel), asked with a C program of its own. */
export const mttyFacts = {
  /** Not where an arc leads: the errno, and the state stays. Every other arc ends where it should. */
  refused: {
    STOP: {},
    RUNNING: {},
    STOP_COPY: { PRE_COPY: "EINVAL", PRE_COPY_P2P: "EINVAL" },
    // No data has been written: whatever leaves RESUMING loads it first.
    RESUMING: {
      STOP: "EINVAL",
      RUNNING: "EINVAL",
      STOP_COPY: "EINVAL",
      RUNNING_P2P: "EINVAL",
      PRE_COPY: "EINVAL",
      PRE_COPY_P2P: "EINVAL",
    },
    RUNNING_P2P: {},
    PRE_COPY: {},
    PRE_COPY_P2P: {},
  },
  /** From any state. */
  neverEntered: "EINVAL",
  /** After a reset in any state. */
  afterReset: { state: "RUNNING", session: "ENODEV" },
  /** VFIO_DEVICE_FEATURE: what each has. The others answer ENOTTY. */
  features: {
    MIGRATION: ["get"],
    MIG_DEVICE_STATE: ["get", "set"],
    DMA_LOGGING_START: ["set"],
    DMA_LOGGING_STOP: ["set"],
    DMA_LOGGING_REPORT: ["get"],
    MIG_DATA_SIZE: ["get"],
  },
} as const;

/** What mtty does by the facts, as the matrix has it. */
export function mttyMatrix(): ArcMatrix {
  const refused = mttyFacts.refused as Record<string, Record<string, string>>;
  const { neverEntered, afterReset } = mttyFacts;
  const arcs = STATES.map((from): [string, Record<string, Outcome>] => {
    const cells = STATES.map((to) => {
      const errno = refused[from]![to];
      return [to, errno === undefined ? { answer: "ok", state: to } : { answer: errno, state: from }];
    });
    const never = Object.keys(NEVER).map((to) => [to, { answer: neverEntered, state: from }]);
    return [from, Object.fromEntries([...cells, ...never]) as Record<string, Outcome>];
  });
  const resets = STATES.map((from): [string, ArcMatrix["resets"][string]] => {
    const hasSession = ["STOP_COPY", "RESUMING", "PRE_COPY", "PRE_COPY_P2P"].includes(from);
    const { state, session } = afterReset;
    return [from, { answer: "ok", state, ...(hasSession && { session }) }];
  });
  return { arcs: Object.fromEntries(arcs), resets: Object.fromEntries(resets) };
}

/**
 * The same of a device that has no P2P states. They are optional (VFIO uAPI: VFIO_MIGRATION_P2P), and an arc to one is
 * refused then.
 */
export function withoutP2p({ arcs, resets }: ArcMatrix): ArcMatrix {
  const rows = <T>(of: Readonly<Record<string, T>>) => Object.entries(of).filter(([from]) => !isP2p(from));
  const cells = (from: string, row: Readonly<Record<string, Outcome>>) =>
    Object.entries(row).map(
      ([to, one]) => [to, isP2p(to) ? { answer: "EINVAL", state: from } : one] as const,
    );
  return {
    arcs: Object.fromEntries(rows(arcs).map(([from, row]) => [from, Object.fromEntries(cells(from, row))])),
    resets: Object.fromEntries(rows(resets)),
  };
}

const isP2p = (state: string): boolean => state.endsWith("_P2P");
