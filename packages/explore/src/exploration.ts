import { Shared, Task } from "@vfiokit/lockdep";
import type { Execution } from "./execution.js";
import type { Thread } from "./thread.js";
import type { VirtualClock } from "./virtual-clock.js";

/** What a program that is explored gets. */
export interface Exploration {
  /**
   * Declares a task. Tasks of the body begin when it has returned, those that tasks make at any time from then on.
   * A task does one thing at a time: what goes on beside it is another task.
   */
  task(name: string, run: (task: Task) => Promise<void>): TaskHandle;
  /** Goes on when the task has ended, whether well or not. */
  join(handle: TaskHandle): Promise<void>;
  /**
   * A place where other tasks can run.
   * @param options `touches`: the plain fields, by any name, that this task uses from here to the next such place. Else
   *   it may use any.
   */
  step(label?: string, options?: StepOptions): Promise<void>;
  step(options: StepOptions): Promise<void>;
  /** A place where other tasks can run: from here to the next, this one uses nothing that others use and nobody sees. */
  pure(label?: string): Promise<void>;
  /** A variable whose every access is such a place. */
  shared<T>(name: string, value: T): SharedCell<T>;
  /**
   * The object, as tasks are to use it: each use of a field, an element, an entry of a Map or a Set, its own or that of an
   * object in it, is seen, so that with `plainFields: "none"`, or after `x.pure()`, pieces conflict by what they use. It
   * is no place where others run. The same object gives the same Proxy.
   * @param name what its fields are called by. Default: its class
   * @throws TypeError for what has no fields
   */
  watch<T extends object>(object: T, name?: string): T;
  /** Goes on when virtual time has come that far. */
  sleep(milliseconds: number): Promise<void>;
  /** For code that takes its clock as a parameter. */
  readonly clock: VirtualClock;
  /** Checked after every event. Throws if it does not hold. It sees changes of locks and of `Shared` variables. */
  invariant(check: () => void): void;
  /** Checked when all tasks have ended. Throws if it does not hold. */
  finally(check: () => void | Promise<void>): void;
}

/** What a task says of the piece that follows a step. */
export interface StepOptions {
  /** The plain fields, by any name, that the task uses from here to its next such place. Default: any. */
  readonly touches?: readonly string[];
}

/** A task of a body, as the body sees it. */
export interface TaskHandle {
  readonly task: Task;
  readonly ended: boolean;
  /** Cancels the task: aborts its signal. */
  abort(reason?: unknown): void;
}

/**
 * A variable whose accesses are scheduling points. What follows an access may use any plain field, as what follows a
 * step, unless it says less: `get({ touches: [] })`.
 */
export interface SharedCell<T> {
  get(options?: StepOptions): Promise<T>;
  set(value: T, options?: StepOptions): Promise<void>;
  /** Its value, read or written at once: for checks, and for what belongs to the event before. */
  current: T;
}

/** A program to explore. It makes all its state anew each time, and does the same whenever it runs. */
export type Body = (x: Exploration) => void | Promise<void>;

export interface Checks {
  readonly invariants: (() => void)[];
  readonly finals: (() => void | Promise<void>)[];
}

export function exploration(execution: Execution, checks: Checks): Exploration {
  const threads = new Map<TaskHandle, Thread>();
  const x: Exploration = {
    task(name, run) {
      if (execution.isOver)
        throw new Error(`x.task("${name}") in x.finally: all tasks have ended, and this one would never run`);
      const controller = new AbortController();
      const task = new Task(name, { signal: controller.signal });
      const thread = execution.start(task, () => run(task));
      const handle: TaskHandle = {
        task,
        get ended() {
          return thread.ended;
        },
        abort: (reason) => controller.abort(reason ?? new Error(`${name} was cancelled`)),
      };
      threads.set(handle, thread);
      return execution.watch.setApart(handle);
    },
    join: (handle) => execution.join(threads.get(handle)!),
    step: (label: string | StepOptions = "step", options?: StepOptions) =>
      typeof label === "string"
        ? execution.step(label, options?.touches)
        : execution.step("step", label.touches),
    pure: (label = "pure") => execution.step(label, []),
    shared: <T>(name: string, value: T) =>
      execution.watch.setApart(sharedCell(execution, new Shared(name, value))),
    watch: (object, name) => execution.watch.watch(object, name),
    sleep: (milliseconds) => execution.clock.sleep(milliseconds),
    clock: execution.clock,
    invariant: (check) => void checks.invariants.push(check),
    finally: (check) => void checks.finals.push(check),
  };
  // What is the explorer's own is seen anyway, wherever the program keeps it.
  for (const each of [x, ...(Object.values(x) as object[])]) execution.watch.setApart(each);
  return x;
}

function sharedCell<T>(execution: Execution, cell: Shared<T>): SharedCell<T> {
  const get = async (fields?: readonly string[]): Promise<T> => {
    await execution.access(cell, false, fields);
    return cell.value;
  };
  const set = async (value: T, fields?: readonly string[]): Promise<void> => {
    await execution.access(cell, true, fields);
    cell.value = value;
  };
  return {
    get: (options) => execution.mine(get(options?.touches)),
    set: (value, options) => execution.mine(set(value, options?.touches)),
    get current() {
      return cell.value;
    },
    set current(value) {
      cell.value = value;
    },
  };
}
