import type { Schedule } from "../../problem.js";
import type { ProblemGraph } from "../../report/graph.js";
import type { Report } from "../report.js";

/** A family of reports: how its title is told, read, put into words and drawn. One file each. */
export interface Sort<P extends { readonly kind: string }> {
  readonly name: string;
  /** At the beginning of a line; group 1 is the title. */
  readonly title: RegExp;
  readonly kinds: readonly P["kind"][];
  /**
   * Lines of the kernel's that a report of this sort has, each at most once: keys of SECTIONS. Others belong to
   * another report.
   */
  readonly sections: readonly Section[];
  /** @throws Torn if a part is missing that the sort cannot do without */
  readonly read: (report: Report) => P;
  readonly words: (problem: P) => readonly string[];
  readonly graph: (problem: P) => ProblemGraph;
  readonly notes?: (problem: P, report: Report) => readonly string[];
  readonly more?: (problem: P) => {
    readonly schedule?: Schedule;
    readonly cheapestToBreak?: { readonly from: string; readonly to: string; readonly advice: string };
  };
}

/** The lines by which the parts of a report are known, whatever its sort. */
export const SECTIONS = {
  acquire: /is trying to acquire lock:$/,
  holding: /^but task is already holding lock:$/,
  chain: /^the existing dependency chain/,
  acquireIrq: /is trying to acquire:$/,
  holdingIrq: /^and this task is already holding:$/,
  safe: /^\.\.\. which became \S+-irq-safe at:/,
  unsafe: /^\.\.\. which became \S+-irq-unsafe at:/,
  changed: /just changed the state of lock:$/,
  inconsistent: /^inconsistent \{.*usage\.$/,
  registered: /^\{.*state was registered at:$/,
  release: /is trying to release lock \(/,
  leaving: /is leaving the kernel with locks still held!$/,
  freeing: /is freeing memory \S+, with a lock still held there!$/,
  tryLock: /is trying to lock:$/,
  notHolding: /^but this task is not holding:$/,
  context: /^context-\{\d+:\d+\}$/,
  rcu: /^rcu_scheduler_active = \d/,
  atomic: /^in_atomic\(\): /,
} as const;
export type Section = keyof typeof SECTIONS;

/** The beginning of a title of lockdep's: old kernels have brackets around it. */
export const head = (rest: string): RegExp => new RegExp(`^(?:\\[ )?(?:WARNING|BUG|INFO): (${rest})`);

/** A picture from its edges; the names of locks and tasks are its nodes. */
export function picture(
  title: string,
  tasks: readonly string[],
  edges: readonly ProblemGraph["edges"][number][],
): ProblemGraph {
  const names = new Set([...edges.flatMap(({ from, to }) => [from, to])]);
  const drawn = [...names].map((name) => ({
    name,
    shape: tasks.includes(name) ? ("task" as const) : ("lock" as const),
  }));
  const clean = edges.map((edge) => ({ ...edge, label: edge.label.filter((line) => line !== "") }));
  return { title, nodes: drawn, edges: clean };
}
