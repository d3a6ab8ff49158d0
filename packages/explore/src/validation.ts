import { lockdep, type Problem } from "@vfiokit/lockdep";
import type { Execution } from "./execution.js";

/**
 * The program's one validator of lock orders, lent to the explorations: it forgets everything before each execution,
 * so that what it reports replays.
 */
export class Validation {
  readonly #before = lockdep.mode;
  #execution: Execution | undefined;

  constructor(private readonly enabled: boolean) {
    lockdep.configure({ mode: enabled ? (problem) => this.#report(problem) : "off" });
  }

  begin(execution: Execution): void {
    this.#execution = execution;
    if (this.enabled) lockdep.reset();
  }

  end(): void {
    lockdep.reset();
    lockdep.configure({ mode: this.#before });
  }

  #report(problem: Problem): void {
    // A hang is a deadlock if it lasts, which the execution itself will tell.
    if (problem.kind !== "hang") this.#execution?.findings.fail("lockdep", describe(problem));
  }
}

function describe(problem: Problem): string {
  switch (problem.kind) {
    case "cycle":
      // Of orders, as the kernel has it: a lock around both, or a join, may keep the tasks from ever meeting.
      return `cycle of lock orders: ${[problem.orders[0]!.from, ...problem.orders.map(({ to }) => to)].join(" -> ")} (a rule of lockdep's; with lockdep: false, only what really deadlocks fails)`;
    case "recursion":
      return `${problem.task.name} takes ${problem.acquiring.class}, and holds ${problem.holding.class}`;
    case "bad-unlock":
      return `${problem.task.name} releases ${problem.class}, which it does not hold`;
    case "held-at-exit":
      return `${problem.task.name} ends with ${problem.held.map((use) => use.class).join(", ")}`;
    case "assert":
      return `${problem.task.name}: ${problem.class} is expected to be ${problem.expected}`;
    case "pinned":
      return `${problem.task.name} releases ${problem.class}, which is pinned`;
    case "held-here":
      return `${problem.task.name} holds ${problem.held.map((use) => use.class).join(", ")} where no lock may be held`;
    case "context":
      return `${problem.class} is taken in ${problem.context}, and held while that can begin`;
    case "context-order":
      return `${problem.from} -> ${problem.to}, of which one is taken in ${problem.context}, and one held while that can begin`;
    default:
      return problem.kind;
  }
}
