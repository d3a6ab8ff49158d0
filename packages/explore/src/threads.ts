import type { Task } from "@vfiokit/lockdep";
import type { Findings } from "./findings.js";
import { isPlatformCallback } from "./identity.js";
import type { Needs } from "./needs.js";
import type { Thread } from "./thread.js";

/** The threads of an execution, and which of them it is that calls. */
export class Threads {
  readonly all: Thread[] = [];
  /** Whose event is under way. */
  active: Thread | undefined;
  settingUp = true;
  /** Whose continuations are held back: none any more when the run is over. */
  readonly #explored = new Set<Thread>();
  #roots = 0;
  readonly #byTask = new Map<Task, Thread>();
  /** The program's set-up; what it has begun goes on beside the tasks, as a thread. */
  readonly setUp = newThread("s", "set-up", undefined, undefined);
  /** Stands for the program's checks. */
  readonly #noTask = newThread("", "", undefined, undefined);

  constructor(
    private readonly needs: Needs,
    private readonly findings: Findings,
  ) {
    this.#explored.add(this.setUp);
  }

  /** The set-up has left something to go on: it is one of the threads from now on. */
  joinSetUp(): void {
    if (!this.all.includes(this.setUp)) this.all.push(this.setUp);
  }

  /** The thread of a task: one of its own, if it is new. */
  of(task: Task): Thread {
    const known = this.#byTask.get(task);
    if (known) return known;
    const thread = this.add(task.name, task);
    this.#byTask.set(task, thread);
    return thread;
  }

  add(name: string, task: Task | undefined): Thread {
    const parent = this.settingUp ? undefined : (this.caller() ?? this.active);
    const key = parent ? `${parent.key}.${parent.children++}` : `${this.#roots++}`;
    const thread = newThread(key, name, task, parent);
    this.all.push(thread);
    this.#explored.add(thread);
    return thread;
  }

  explores(thread: Thread): boolean {
    return this.#explored.has(thread);
  }

  /** The run is over. */
  end(): void {
    this.#explored.clear();
  }

  /** Runs what is the thread's. Undefined: what is the program's, and no task's. */
  run<T>(thread: Thread | undefined, code: () => T): T {
    const { identity } = this.needs;
    return identity ? identity.run(thread ?? (this.settingUp ? this.setUp : this.#noTask), code) : code();
  }

  /** Who the calling code belongs to, if it is a task's, and if that can be told. */
  caller(): Thread | undefined {
    const thread = this.needs.identity?.getStore();
    return thread === this.#noTask || (this.settingUp && thread === this.setUp) ? undefined : thread;
  }

  /** Which part of the program calls: as well as can be told. */
  get keyOfCaller(): string {
    return (this.needs.identity || this.settingUp ? this.caller() : this.active)?.key ?? "";
  }

  /** Who calls: the task that runs, since only one does, unless others await promises that it may resolve. */
  current(): Thread {
    if (!this.active) throw new Error("a scheduling point outside of any task");
    if (this.needs.identity) return this.caller() ?? this.active;
    if (this.all.some(({ adrift }) => adrift)) {
      this.needs.identify();
      this.findings.again = true;
    }
    return this.active;
  }

  /** It is the program that calls, and no other code of the process. */
  isProgram(): boolean {
    const { identity } = this.needs;
    if (identity) {
      const thread = identity.getStore();
      return thread !== undefined && (thread === this.#noTask || this.#explored.has(thread));
    }
    if (!this.settingUp && isPlatformCallback()) return false;
    // From now on, calls are told apart.
    if (this.needs.tryIdentify()) this.findings.again = true;
    return true;
  }
}

function newThread(key: string, name: string, task: Task | undefined, parent: Thread | undefined): Thread {
  return {
    parent,
    key,
    name,
    task,
    mustEnd: false,
    ended: false,
    pending: undefined,
    waiting: undefined,
    gaps: [],
    fields: undefined,
    adrift: false,
    children: 0,
    events: 0,
    lastEvent: -1,
  };
}
