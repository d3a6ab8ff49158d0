import type { Problem } from "../problem.js";
import { cheapestToBreak } from "../report/cheapest.js";
import { problemGraph, type ProblemGraph } from "../report/graph.js";
import { fromTheNewOrder, scheduleOf } from "../report/schedule.js";
import { formatSchedule } from "../report/text.js";
import { why } from "../report/why.js";
import { at, nameOf } from "../report/words.js";
import type { InconsistentState, Splat } from "./splat.js";

/** A splat in plain words: which orders conflict, who took which, and what to do about it. */
export function explainSplat(splat: Splat): string {
  const kernel = splat.kernel === "" ? "" : ` (${splat.kernel})`;
  const lines = [`line ${splat.line}: ${splat.title}${kernel}`, ""];
  const { problem } = splat;
  if (!problem) lines.push("This report is of a sort that is not explained here, or too torn to be read.");
  else if (problem.kind === "inconsistent-state") lines.push(...inconsistent(problem));
  else lines.push(...words(problem));
  return `${lines.join("\n")}\n`;
}

/** The picture of a splat, the same as that of the validator's own reports. */
export function splatGraph(splat: Splat): ProblemGraph | undefined {
  const { problem } = splat;
  if (!problem) return undefined;
  if (problem.kind !== "inconsistent-state") return problemGraph(problem);
  const { lock, task } = problem;
  return {
    title: "Taken with interrupts on, and by an interrupt",
    nodes: [
      { name: nameOf(task), shape: "task" },
      { name: lock.class, shape: "lock" },
    ],
    edges: [
      { from: nameOf(task), to: lock.class, label: [problem.now, at(lock.at)], culprit: true },
      { from: lock.class, to: lock.class, label: [problem.before, at(problem.registeredAt)], culprit: false },
    ],
  };
}

function words(problem: Problem): string[] {
  if (problem.kind !== "cycle") {
    const place =
      "at" in problem ? at(problem.at) : problem.kind === "recursion" ? at(problem.acquiring.at) : "";
    return [why(problem), ...(place === "" ? [] : ["", `Where: ${place}`])];
  }
  const lines = ["These orders conflict:", ""];
  for (const order of fromTheNewOrder(problem)) {
    const verb = order.acquired === "exclusive" ? "takes" : "reads";
    lines.push(
      `  ${order.from} -> ${order.to}`,
      `      ${nameOf(order.task)} ${verb} ${order.to} while it holds ${order.from}`,
    );
    const places = [order.heldAt, order.at].map((place) => at(place.slice(0, 1)));
    if (places[0] !== "") lines.push(`      ${order.from} at ${places[0]!}`);
    if (places[1] !== "") lines.push(`      ${order.to} at ${places[1]!}`);
  }
  lines.push("", why(problem), "", "A schedule that hangs:", "", ...formatSchedule(scheduleOf(problem)));
  lines.push("", `Cheapest to break: ${cheapestToBreak(problem).advice}`);
  return lines;
}

function inconsistent({ task, lock, before, now, registeredAt }: InconsistentState): string[] {
  const irq = /SOFTIRQ/.test(before + now) ? "soft interrupt" : "interrupt";
  const inIrq = before.startsWith("IN-");
  const where = (place: InconsistentState["registeredAt"]): string => (place[0] ? ` (${at(place)})` : "");
  const other = inIrq
    ? `an ${irq} took it before${where(registeredAt)}`
    : `it was taken with the ${irq}s on before${where(registeredAt)}`;
  const here = inIrq ? `with ${irq}s on` : `in an ${irq}`;
  const irqsave = irq === "interrupt" ? "spin_lock_irqsave()" : "spin_lock_bh()";
  return [
    `${nameOf(task)} takes ${lock.class} ${here}${where(lock.at)}, and ${other}: if the ${irq} comes while its own ` +
      `processor holds the lock, it waits for the very task that it has interrupted.`,
    "",
    `What to do: take ${lock.class} with ${irqsave} wherever it is not taken in the ${irq} itself.`,
  ];
}
