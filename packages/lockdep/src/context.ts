import type { Task } from "./task.js";

/** How code finds the task that it runs as, where none is passed. */
export interface Context {
  /** What whoever runs now builds upon: its task, or what it has acquired and not released. */
  running(): Task | undefined;
  /** Runs `body` as `task`. */
  run<T>(task: Task, body: () => T): T;
}

let current: Task | undefined;

/** What every engine has: a function is its task's up to its first `await`. Nothing untrue is seen, only less. */
const synchronous: Context = {
  running: () => current,
  run(task, body) {
    const before = current;
    current = task;
    try {
      return body();
    } finally {
      current = before;
    }
  },
};

/** The context in force: Node's AsyncLocalStorage, once src/node is loaded. */
export let context = synchronous;

export function useContext(next: Context): void {
  context = next;
}
