export { Task } from "./task.js";
export { Mutex } from "./mutex.js";
export { RwSemaphore } from "./rwsem.js";
export { LockError } from "./errors.js";
export type { Hold, HoldMode } from "./hold.js";
