/**
 * What a task of an oracle's program does next. Objects go by name: mutexes m0, rwsems r0, cells c0, plain fields p0.
 *
 * A signal is k0, or "a", that of a task; "any k0" follows it.
 */
export type Instr =
  // Places where others can run.
  /** `touches`: the plain fields that are used up to the next place. None of them: it is pure. */
  | { readonly do: "step"; readonly touches?: readonly string[] }
  | { readonly do: "preempt" }
  /** An `await` of something that the explorer did not make. */
  | { readonly do: "gap"; readonly how: "null" | "then" | "helper" }
  /** The next instructions run in an async function of their own, up to its "return", which is awaited. */
  | { readonly do: "call" }
  | { readonly do: "return" }
  | { readonly do: "await"; readonly promise: string }
  | { readonly do: "sleep"; readonly ms: number }
  | { readonly do: "join"; readonly task: string }
  | { readonly do: "get" | "set"; readonly cell: string }
  | Take
  // Parts of the piece that they stand in.
  /** `skip`: so many instructions are passed over where it fails. */
  | {
      readonly do: "try";
      readonly lock: string;
      readonly mode: Mode;
      readonly permits?: number;
      readonly skip: number;
    }
  /** Does nothing where the task does not hold it. */
  | { readonly do: "release"; readonly lock: string; readonly mode: Mode; readonly permits?: number }
  | { readonly do: "downgrade"; readonly lock: string }
  | { readonly do: "look"; readonly lock: string; readonly at: "owner" | "waiters" | "state" }
  /** Acts on a semaphore, a latch, a condition, a channel; `permits`: by how much. */
  | {
      readonly do: "post" | "countDown" | "notify" | "notifyAll" | "close";
      readonly lock: string;
      readonly permits?: number;
    }
  /** What follows the "take" of a once, up to this, is what the once runs. Its end is a place of its own. */
  | { readonly do: "made"; readonly lock: string; readonly caught: boolean }
  /** Fields of objects under `x.watch` would be a third of these, beside cells and plain fields. */
  | { readonly do: "append" | "see"; readonly cell: string }
  | { readonly do: "append" | "see" | "put"; readonly field: string }
  /** Throws if what the task saw last has this in it. */
  | { readonly do: "fail"; readonly when: string }
  | { readonly do: "resolve"; readonly promise: string }
  | { readonly do: "abort"; readonly task: string }
  | { readonly do: "cancel"; readonly signal: string }
  | { readonly do: "start"; readonly task: string }
  | { readonly do: "timer"; readonly timer: string; readonly ms: number; readonly act: Instr }
  | { readonly do: "stop"; readonly timer: string }
  | { readonly do: "now" };

/** Waits for an object; or does nothing and skips, where the task would wait for itself or lacks the mutex to wait with. */
export interface Take {
  readonly do: "take";
  readonly lock: string;
  readonly mode: Mode;
  readonly permits?: number;
  readonly signal?: string;
  /** The wait ends after so many milliseconds. */
  readonly limit?: number;
  /** So many instructions are passed over where the wait fails. */
  readonly skip: number;
  /** A wait that fails is caught. Else the task throws. */
  readonly caught: boolean;
}

/**
 * How an object is used, by its kind: mutexes m (write), rwsems r (write, read, recursive), semaphores s whose permits
 * are held (permit) and q whose permits are used up (consume), barriers b and latches l (wait), channels h (send,
 * receive), conditions v, each with the mutex of the same number (wait), and onces o (once).
 */
export type Mode =
  "write" | "read" | "recursive" | "permit" | "consume" | "wait" | "send" | "receive" | "once";

/** What objects begin with: free permits, the count of a latch, the parties of a barrier, the capacity of a channel. */
export const SIZES: Readonly<Record<string, number>> = {
  s0: 1,
  s1: 2,
  l0: 1,
  l1: 2,
  b0: 2,
  b1: 2,
  h0: 1,
  h1: 0,
};

/** Tasks are named a, b, c in the order of this list. */
export interface Program {
  /** Plain fields are used: every piece may touch them. */
  readonly plain: boolean;
  readonly tasks: readonly ProgramTask[];
  /** An invariant: not all of these hold at once, between two pieces. */
  readonly never?: readonly Fact[];
}

/** A cell or plain field whose text has a task's name in it; a lock that a task holds, or for which one waits. */
export type Fact =
  | { readonly cell: string; readonly has: string }
  | { readonly field: string; readonly has: string }
  | { readonly lock: string; readonly holder: string }
  | { readonly lock: string; readonly waits: true };

export interface ProgramTask {
  /** Begins only when another one starts it. */
  readonly late: boolean;
  readonly code: readonly Instr[];
}

export const nameOf = (index: number): string => "abcdefgh"[index]!;

export const BROKEN = "the invariant is broken";

export function formatProgram({ plain, tasks, never }: Program): string {
  const lines = tasks.map(({ late, code }, i) => {
    const text = code.map((instr) => formatInstr(instr)).join("; ");
    return `  ${nameOf(i)}${late ? " (late)" : ""}: ${text || "nothing"}`;
  });
  const facts = never?.map((fact) => Object.values(fact).join(" ")).join(" and ");
  return [
    plain ? "plain fields:" : "no plain fields:",
    ...lines,
    ...(facts ? [`  never: ${facts}`] : []),
  ].join("\n");
}

function formatInstr(instr: Instr): string {
  const { do: what, ...rest } = instr;
  const values = Object.entries(rest).map(([key, value]) =>
    typeof value === "object" && !Array.isArray(value)
      ? formatInstr(value as Instr)
      : ["skip", "caught", "permits", "limit", "ms", "touches", "when"].includes(key)
        ? `${key}=${String(value)}`
        : String(value),
  );
  return [what, ...values].join(" ");
}
