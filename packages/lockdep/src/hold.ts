import type { Mutex } from "./mutex.js";
import type { RwSemaphore } from "./rwsem.js";
import type { Task } from "./task.js";

export type HoldMode = "exclusive" | "read" | "write";

/**
 * A lock held by a task, released when disposed: `using _ = await stateMutex.acquire(task)`.
 * Holds are pooled by their lock: do not keep one after it is released.
 */
export interface Hold extends Disposable {
  readonly lock: Mutex | RwSemaphore;
  readonly mode: HoldMode;
  readonly task: Task;
}
