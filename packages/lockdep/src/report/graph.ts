import type { HangProblem, LockUse, Problem, TaskName } from "../problem.js";
import { at, nameOf } from "./words.js";

/** A problem as a picture has it: locks and tasks, and who takes, holds or wants what. */
export interface ProblemGraph {
  readonly title: string;
  readonly nodes: readonly { readonly name: string; readonly shape: "lock" | "task" }[];
  readonly edges: readonly {
    readonly from: string;
    readonly to: string;
    /** One line each. */
    readonly label: readonly string[];
    /** The edge without which there would be no problem. */
    readonly culprit: boolean;
  }[];
}

/** The problem as a graph, which `toDot` and `toMermaid` draw. */
export function problemGraph(problem: Problem): ProblemGraph {
  const graph = new Builder();
  switch (problem.kind) {
    case "cycle":
      problem.orders.forEach((order, i) => {
        const place = at(order.at.slice(0, 1)).replace(/ {2}# .*/, "");
        const how = order.acquired === "exclusive" ? [] : [order.acquired];
        graph.edge(
          order.from,
          order.to,
          [...who(order.task, place), ...how],
          i === problem.orders.length - 1,
        );
      });
      return graph.build("An edge: while the first lock is held, the second is taken");
    case "recursion":
      graph.edge(
        problem.holding.class,
        problem.acquiring.class,
        [nameOf(problem.task), at(problem.acquiring.at)],
        true,
      );
      return graph.build("A lock of a class taken while one of that class is held");
    case "hang":
    case "long-wait":
      waits(graph, problem.tasks);
      return graph.build("Who waits for what, and who holds it");
    case "bad-unlock":
    case "assert":
      holds(graph, problem.task, problem.held);
      graph.edge(
        nameOf(problem.task),
        problem.class,
        [problem.kind === "assert" ? problem.expected : "releases"],
        true,
        "task",
      );
      return graph.build("What the task holds");
    case "held-here":
      holds(graph, problem.task, problem.held);
      return graph.build("What the task holds where no lock may be held");
    case "pinned":
      holds(graph, problem.task, problem.held);
      graph.edge(nameOf(problem.task), problem.class, ["releases, though pinned"], true, "task");
      return graph.build("What the task holds");
    case "context":
    case "context-order": {
      const [safe, unsafe] =
        problem.kind === "context" ? [problem.class, problem.class] : [problem.from, problem.to];
      const { context, used, heldOutside } = problem;
      graph.edge(context, safe, ["takes", ...who(used.task, at(used.at))], true, "task");
      if (problem.kind === "context-order") graph.edge(safe, unsafe, who(problem.task, at(problem.at)), true);
      graph.edge(unsafe, nameOf(heldOutside.task), ["held by", at(heldOutside.at)], false, "lock", "task");
      graph.edge(nameOf(heldOutside.task), context, ["is interrupted by"], false, "task", "task");
      return graph.build("Who waits for whom when the context begins");
    }
    case "held-at-exit":
      holds(graph, problem.task, problem.held);
      return graph.build("What the task held when it ended");
    case "after-exit":
      holds(graph, problem.task, problem.held);
      graph.edge(nameOf(problem.task), problem.acquired.class, ["takes, when it is over"], true, "task");
      return graph.build("A lock of a task that is over");
    case "limit":
      return graph.build(`The bound of ${problem.bound} ${problem.what} is reached`);
  }
}

class Builder {
  readonly #nodes = new Map<string, "lock" | "task">();
  readonly #edges: ProblemGraph["edges"][number][] = [];

  edge(
    from: string,
    to: string,
    label: readonly string[],
    culprit: boolean,
    fromShape: "lock" | "task" = "lock",
    toShape: "lock" | "task" = "lock",
  ): void {
    this.#nodes.set(from, fromShape);
    this.#nodes.set(to, toShape);
    this.#edges.push({ from, to, label: label.filter((line) => line !== ""), culprit });
  }

  build(title: string): ProblemGraph {
    const nodes = [...this.#nodes].map(([name, shape]) => ({ name, shape }));
    return { title, nodes, edges: this.#edges };
  }
}

function holds(graph: Builder, task: TaskName, held: readonly LockUse[]): void {
  for (const use of held) graph.edge(use.class, nameOf(task), ["held by", at(use.at)], false, "lock", "task");
}

function waits(graph: Builder, tasks: HangProblem["tasks"]): void {
  for (const { task, waitsFor, holders } of tasks) {
    const lock = `${waitsFor.class} ${waitsFor.lock}`;
    graph.edge(nameOf(task), lock, ["waits for", at(waitsFor.at)], true, "task");
    for (const holder of holders) graph.edge(lock, nameOf(holder), ["held by"], false, "lock", "task");
  }
}

/** A task, and where; once, if it is named after its function. */
function who(task: TaskName, place: string): string[] {
  const rest = place.startsWith(task.name) ? place.slice(task.name.length) : undefined;
  if (rest !== undefined && !/^\w/.test(rest)) return [task.id === 0 ? place : `${nameOf(task)}${rest}`];
  return [nameOf(task), place];
}
