import { lockdep, Mutex, RwSemaphore, Task, type Problem, type SeenOrder } from "@vfiokit/lockdep";

/**
 * Which locks are taken under which, over many executions: a set, so that it does not matter who saw what first. An
 * order is a line of text, "memoryLock EN stateMutex".
 */
export class Orders {
  readonly #lines = new Set<string>();

  add(lines: readonly string[]): void {
    for (const line of lines) this.#lines.add(line);
  }

  /** In an order of their own. */
  get lines(): readonly string[] {
    return [...this.#lines].sort();
  }

  /** The first circle that the orders make, told by the validator itself. It starts from an empty graph. */
  circle(): Problem | undefined {
    const problems: Problem[] = [];
    const before = lockdep.mode;
    lockdep.reset();
    lockdep.configure({ mode: (problem) => problems.push(problem) });
    try {
      for (const line of this.lines) act(line);
    } finally {
      lockdep.reset();
      lockdep.configure({ mode: before });
    }
    return problems[0];
  }
}

/** The orders as lines. */
export function orderLines(orders: readonly SeenOrder[]): string[] {
  return orders.flatMap(({ from, to, kinds }) => kinds.map((kind) => `${from} ${kind} ${to}`));
}

/** One lock of each class, taken by nobody else: nothing waits. */
function act(line: string): void {
  const [from = "", kind = "", to = ""] = line.split(" ");
  const task = new Task(line);
  take(task, from, kind.startsWith("E"), false);
  take(task, to, !kind.endsWith("R"), true);
}

function take(task: Task, label: string, exclusive: boolean, recursive: boolean): void {
  const [name = "", subclass = "0"] = label.split("/");
  const options = { subclass: Number(subclass) };
  if (exclusive) void new Mutex(name).lock(task, options);
  else void new RwSemaphore(name).downRead(task, { ...options, recursive });
}
