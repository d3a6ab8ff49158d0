/// <reference types="node" />
import { LockError } from "../errors.js";
import { Task } from "../task.js";
import { Acquisition, running, storage } from "./acquisition.js";

/** What `runTask` takes beside the body. */
export interface RunTaskOptions {
  /** Ends the task's waits for locks. */
  readonly signal?: AbortSignal;
  /**
   * The caller does not await it. Else a task within a task counts as awaited: what the outer one holds is held
   * meanwhile. Default false.
   */
  readonly detached?: boolean;
}

/**
 * Runs `body` as a task: everything that it calls and awaits finds the task by `currentTask()`.
 *
 * Branches of one task that run side by side (`Promise.all`) need a task each.
 * @throws LockdepError, if the validator throws and the task still holds locks at its end; what the body threw, if it
 *   threw, is its `cause`.
 */
export function runTask<T>(name: string, body: (task: Task) => T, options: RunTaskOptions = {}): T {
  const parent = options.detached ? undefined : running();
  const task = new Task(name, { signal: options.signal ?? parent?.signal, parent });
  let result: T;
  try {
    result = withTask(task, () => body(task));
  } catch (error) {
    throw afterFailure(task, error);
  }
  if (!isPromise(result)) {
    task.end();
    return result;
  }
  return result.then(
    (value: unknown) => {
      task.end();
      return value;
    },
    (error: unknown) => {
      throw afterFailure(task, error);
    },
  ) as T;
}

/** Ends a task whose body threw `error`: what the caller gets. */
function afterFailure(task: Task, error: unknown): unknown {
  try {
    task.fail(error);
    return error;
  } catch (problem) {
    // The validator throws: the locks left behind are the news, and what was thrown is their cause.
    (problem as Error).cause = error;
    return problem;
  }
}

/** The task that is running: that of the innermost `runTask` around. @throws LockError if there is none. */
export function currentTask(): Task {
  const task = ambientTask();
  if (!task) throw new LockError("no task here: run this within runTask()");
  return task;
}

/** As `currentTask`, where there need not be one. */
export function ambientTask(): Task | undefined {
  const running = storage.getStore();
  return running instanceof Acquisition ? running.around : running;
}

/** Runs `body` within a task that somebody else begins and ends. */
export function withTask<T>(task: Task, body: () => T): T {
  return storage.run(task, body);
}

/** Lets reports name the places in the TypeScript that was written, by the source maps of what runs. */
export function useSourceMaps(): void {
  process.setSourceMapsEnabled(true);
}

function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}
