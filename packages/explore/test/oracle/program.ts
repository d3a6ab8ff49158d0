/** What a task of an oracle's program does next. Objects go by name: mutexes m0, rwsems r0, cells c0, plain fields p0. */
export type Instr =
  // Places where others can run.
  | { readonly do: "step"; readonly touches?: readonly string[]; readonly pure?: boolean }
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
  | { readonly do: "try"; readonly lock: string; readonly mode: Mode; readonly skip: number }
  /** Does nothing where the task does not hold it. */
  | { readonly do: "release"; readonly lock: string; readonly mode: Mode }
  | { readonly do: "downgrade"; readonly lock: string }
  | { readonly do: "look"; readonly lock: string; readonly at: "owner" | "waiters" }
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

/** Takes a lock, or does nothing and skips where the task itself holds it in a way that would make it wait for itself. */
export interface Take {
  readonly do: "take";
  readonly lock: string;
  readonly mode: Mode;
  readonly signal?: string;
  /** So many instructions are passed over where the lock is not taken. */
  readonly skip: number;
  /** A wait that ends without the lock is caught. Else the task throws. */
  readonly caught: boolean;
}

export type Mode = "exclusive" | "read" | "recursive" | "write";

/** Tasks are named a, b, c in the order of this list. */
export interface Program {
  /** Plain fields are used: every piece may touch them. */
  readonly plain: boolean;
  readonly tasks: readonly ProgramTask[];
}

export interface ProgramTask {
  /** Begins only when another one starts it. */
  readonly late: boolean;
  readonly code: readonly Instr[];
}

export const nameOf = (index: number): string => "abcdefgh"[index]!;

export function formatProgram({ plain, tasks }: Program): string {
  const lines = tasks.map(({ late, code }, i) => {
    const text = code.map((instr) => formatInstr(instr)).join("; ");
    return `  ${nameOf(i)}${late ? " (late)" : ""}: ${text || "nothing"}`;
  });
  return [plain ? "plain fields:" : "no plain fields:", ...lines].join("\n");
}

function formatInstr(instr: Instr): string {
  const { do: what, ...rest } = instr;
  const values = Object.entries(rest).map(([key, value]) =>
    typeof value === "object" && !Array.isArray(value)
      ? formatInstr(value as Instr)
      : ["skip", "caught", "ms", "pure", "touches", "when"].includes(key)
        ? `${key}=${String(value)}`
        : String(value),
  );
  return [what, ...values].join(" ");
}
