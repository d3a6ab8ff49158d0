import type { CycleProblem } from "@vfiokit/lockdep";
import type { CounterexampleLine } from "../counterexample.js";

type Access = CycleProblem["orders"][number]["acquired"];
type Mode = "exclusive" | "read";

/**
 * What hangs when tasks that follow the orders of a cycle are all under way at once: each takes its first lock, then
 * asks for its second. The tasks never met when the orders were seen; this is what they could do.
 */
export function cycleLines({ orders }: Pick<CycleProblem, "orders">): CounterexampleLine[] {
  const names = new Map<string, number>();
  const tasks = orders.map(({ task }) => {
    const nth = (names.get(task.name) ?? 0) + 1;
    names.set(task.name, nth);
    return nth === 1 ? task.name : `${task.name} (${nth})`;
  });
  const holds = orders.map((order, i) => line(tasks[i]!, "takes", order.from, modeOf(order.held)));
  const writers: CounterexampleLine[] = [];
  const waits = orders.map((order, i) => {
    const next = (i + 1) % orders.length;
    let holder = tasks[next]!;
    const mode = modeOf(order.acquired);
    if (mode === "read" && modeOf(orders[next]!.held) === "read") {
      // A reader waits for a reader only behind a writer that waits.
      const writer = `a writer of ${order.to}`;
      writers.push(line(writer, "waits", order.to, "exclusive", holder));
      holder = writer;
    }
    return line(tasks[i]!, "waits", order.to, mode, holder);
  });
  const circle = orders.map(({ to }, i) => `${tasks[i]!} waits for ${to}`).join("; ");
  return [...holds, ...writers, ...waits, { task: "", text: `a circle of waits: ${circle}` }];
}

const modeOf = (access: Access): Mode => (access === "exclusive" ? "exclusive" : "read");

function line(
  task: string,
  what: "takes" | "waits",
  lock: string,
  mode: Mode,
  holder?: string,
): CounterexampleLine {
  const how = mode === "read" ? " for reading" : "";
  const text = what === "takes" ? `takes ${lock}${how}` : `waits for ${lock}${how}, held by ${holder!}`;
  return { task, text, lock: { what, lock, mode } };
}
