import { MigrationState, migrationStateName } from "@vfiokit/core/migration";
import { initiators, type InitiatorRules, type ResetInitiator } from "@vfiokit/core/lab";
import { allStates } from "./card.js";

/** What a client, and its driver, saw of one reset. Undefined: there was nothing to see. */
export interface Observation {
  readonly reset: "succeeds" | "fails" | "not tried";
  readonly stateAfter: MigrationState | undefined;
  /** A transfer through the session that was open before: its errno, or "alive". */
  readonly session: string | undefined;
  readonly config: string;
  /** DMA maps and interrupt triggers. */
  readonly client: string;
  /** How often it was incremented. */
  readonly generation: number;
  readonly errno: string;
  /** Locks that anybody held, of any function of the set, when migrationResetState was called. */
  readonly opLocks: string | undefined;
}

interface Row {
  readonly initiator: ResetInitiator;
  readonly states: MigrationState[];
  readonly cells: (string | undefined)[];
}

/** One row for all states that fare alike. */
export function resetTable(
  observations: readonly { initiator: ResetInitiator; state: MigrationState; seen: Observation }[],
): string {
  const rows: Row[] = [];
  for (const { initiator, state, seen } of observations) {
    const cells = cellsOf(state, seen);
    const row = rows.find((r) => r.initiator === initiator && agree(r.cells, cells));
    if (!row) rows.push({ initiator, states: [state], cells });
    else {
      row.states.push(state);
      cells.forEach((cell, i) => (row.cells[i] ??= cell));
    }
  }
  return table(
    [
      "initiator",
      "reset",
      "from",
      "state after",
      "old session",
      "configuration",
      "maps, triggers",
      "generation",
      "errno",
      "locks at `migrationResetState`",
    ],
    rows.map(({ initiator, states, cells: [reset, ...rest] }) => [
      `\`${initiator}\``,
      reset,
      describeStates(states),
      ...rest,
    ]),
  );
}

function cellsOf(state: MigrationState, seen: Observation): (string | undefined)[] {
  const asBefore = seen.stateAfter === state;
  // From RUNNING to RUNNING fits either.
  const after =
    state === MigrationState.RUNNING
      ? undefined
      : asBefore
        ? "as before"
        : migrationStateName(seen.stateAfter!);
  return [
    seen.reset,
    after,
    seen.session,
    seen.config,
    seen.client,
    seen.generation === 0 ? "same" : `+${seen.generation}`,
    seen.errno === "0" ? "none" : seen.errno,
    seen.opLocks,
  ];
}

function agree(a: readonly (string | undefined)[], b: readonly (string | undefined)[]): boolean {
  return a.every((cell, i) => cell === undefined || b[i] === undefined || cell === b[i]);
}

function describeStates(states: readonly MigrationState[]): string {
  const names = allStates.filter((state) => states.includes(state)).map(migrationStateName);
  const others = allStates.filter((state) => !states.includes(state)).map(migrationStateName);
  if (others.length === 0) return "any";
  return others.length < names.length ? `not ${others.join(", ")}` : names.join(", ");
}

export interface InitiatorRow {
  readonly initiator: ResetInitiator;
  /** Lock classes that anybody held when the function itself was reset. */
  readonly held: readonly string[];
  /** While somebody else has its deviceLock. */
  readonly busy: string;
  /** When the function's reset fails. */
  readonly failing: string;
}

export function initiatorTable(rows: readonly InitiatorRow[]): string {
  return table(
    [
      "initiator",
      "what",
      "Linux",
      "locks held at the function's reset",
      "first",
      "`reset_done` in Linux",
      "deviceLock taken",
      "the reset fails",
    ],
    rows.map(({ initiator, held, busy, failing }) => {
      const rules: InitiatorRules = initiators[initiator];
      const classes = [...new Set(held)].map((name) => {
        const count = held.filter((other) => other === name).length;
        return count > 1 ? `${name} of each` : name;
      });
      const first = [rules.wakes && "resume", rules.powersOn && "D0"].filter(Boolean).join(", ");
      return [
        `\`${initiator}\``,
        rules.title,
        rules.linux.includes(" ") ? rules.linux : `\`${rules.linux}\``,
        classes.join(", "),
        first,
        rules.resetDone ? "called" : "not called",
        busy === "0" ? "no reset" : busy.replace(", then 0", ""),
        failing === "0" ? "not told" : failing,
      ];
    }),
  );
}

/** A table as Markdown has it; the columns are aligned by whoever formats the document. */
function table(head: readonly string[], rows: readonly (readonly (string | undefined)[])[]): string {
  const line = (cells: readonly (string | undefined)[]) =>
    `| ${cells.map((cell) => cell || "-").join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
