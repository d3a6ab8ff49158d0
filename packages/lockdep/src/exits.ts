import type { Access } from "./access.js";
import { lockUse, place, taskName, thrownText } from "./describe.js";
import type { Lock } from "./lock.js";
import type { ClassNode } from "./lock-class.js";
import type { LockUse, Problem } from "./problem.js";
import type { Reporter } from "./reporter.js";
import { methodsOf, type Site } from "./stack.js";
import type { Task } from "./task.js";

/** What a task may not have when it is over, and what it may not take then. */
export class Exits {
  constructor(private readonly reporter: Reporter) {}

  /** The task is over. */
  ended(task: Task): void {
    // What it acquired without naming a task may be another's to release, unless this one broke off.
    const broken = task.thrown === undefined ? [] : branchesOf(task);
    const holders = [task, ...broken].filter(({ records }) => records.length > 0);
    if (holders.length === 0) return;
    const site = this.reporter.site(task, methodsOf(task));
    const classes = holders.flatMap(({ records }) => records.map((hold) => hold.lock.className)).join(" ");
    this.reporter.raise(`held-at-exit ${task.name} ${classes}`, () => ({
      kind: "held-at-exit",
      task: taskName(task),
      ...(task.thrown === undefined ? {} : { thrown: thrownText(task.thrown) }),
      at: place(site),
      held:
        holders.length === 1 && holders[0] === task
          ? this.reporter.held(task)
          : holders.flatMap((each) => this.#own(each)),
    }));
  }

  /** The task, which is over, takes a lock. */
  takes(task: Task, lock: Lock, node: ClassNode, access: Access): void {
    const site = this.reporter.site(task, lock.entryPoints);
    this.reporter.raise(...this.#afterExit(task, lock, node, access, site, false));
  }

  /** It gets one for which it has waited, there. Whoever has handed it over is not to blame: nothing to throw at. */
  gets(task: Task, lock: Lock, node: ClassNode, access: Access, site: Site | undefined): void {
    this.reporter.report(...this.#afterExit(task, lock, node, access, site, true));
  }

  #afterExit(
    task: Task,
    lock: Lock,
    node: ClassNode,
    access: Access,
    site: Site | undefined,
    waited: boolean,
  ): [string, () => Problem] {
    return [
      `after-exit ${task.name} ${node.label}`,
      () => ({
        kind: "after-exit",
        task: taskName(task),
        acquired: lockUse(lock, node, access, false, place(site)),
        waited,
        held: this.reporter.held(task),
      }),
    ];
  }

  /** What the task holds itself, without what those hold that await it. */
  #own(task: Task): LockUse[] {
    return this.reporter.held(task).slice(-task.records.length);
  }
}

/** The task, or one that should have awaited it, that is over. */
export function over(task: Task): Task | undefined {
  let at: Task | undefined = task;
  while (at && !at.over) at = at.parent;
  return at;
}

function branchesOf(task: Task): Task[] {
  return [...(task.branches ?? [])].flatMap((branch) => [branch, ...branchesOf(branch)]);
}
