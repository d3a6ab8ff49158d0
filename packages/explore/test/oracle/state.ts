import { initialLocks, queueOf, type Objects } from "./objects.js";
import { nameOf, type Fact, type Program } from "./program.js";

export type TaskState = Objects["tasks"][string] & {
  pc: number;
  /** What it saw last, and all that it noted. */
  seen: string;
  log: string[];
  /** Of a sleep. */
  due: number;
};

/** All there is. It is plain data, so that its text is its identity. */
export interface State extends Objects {
  tasks: Record<string, TaskState>;
  /** Cells and plain fields. */
  cells: Record<string, string>;
  resolved: string[];
  /** Timers that are set: when they are due. */
  timers: Record<string, number>;
  now: number;
  failures: string[];
}

/** Before anybody has begun. */
export function initialState(program: Program): State {
  const tasks = program.tasks.map(({ late }, i): [string, TaskState] => [
    nameOf(i),
    { at: late ? "unborn" : "begins", pc: 0, seen: "", log: [], got: "", error: "", due: 0 },
  ]);
  return {
    ...{ tasks: Object.fromEntries(tasks), locks: initialLocks(program), waiting: [], aborted: [] },
    ...{ cells: {}, resolved: [], timers: {}, now: 0, failures: [] },
  };
}

export function failed(s: State, failure: string): void {
  s.failures = [...new Set([...s.failures, failure])].toSorted();
}

/** Does that hold? */
export function isTrue(s: State, fact: Fact): boolean {
  if (!("lock" in fact)) return (s.cells["cell" in fact ? fact.cell : fact.field] ?? "").includes(fact.has);
  if ("waits" in fact) return queueOf(s, fact.lock).length > 0;
  const { owner, readers } = s.locks[fact.lock]!;
  return [owner, ...readers].includes(fact.holder);
}

/** Each holder once. */
export const namesOf = (owner: string, readers: string[]): string =>
  [...new Set([owner, ...readers])].toSorted().join("");

/** What is left, as text. */
export function endState({ cells, tasks, locks }: State): string {
  const logs = Object.entries(tasks).map(
    ([name, { at, log }]) => `${name}:${at === "unborn" ? "-" : log.join(",")}`,
  );
  const holds = Object.entries(locks).map(
    ([lock, { owner, readers }]) => `${lock}:${namesOf(owner, readers)}`,
  );
  return [
    Object.entries(cells)
      .map(([key, value]) => `${key}=${value}`)
      .toSorted()
      .join(" "),
    logs.join(" "),
    holds
      .filter((text) => !text.endsWith(":"))
      .toSorted()
      .join(" "),
  ].join(" | ");
}

export const without = <T>(all: Record<string, T>, name: string): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([key]) => key !== name));
