export { Task } from "./task.js";
export { Mutex } from "./mutex.js";
export { RwSemaphore } from "./rwsem.js";
export { LockError } from "./errors.js";
export type { Hold, HoldMode } from "./hold.js";
export { Lock } from "./lock.js";
export type { AcquireOptions } from "./wait-queue.js";
export type { ReadOptions } from "./rwsem.js";
export type { LockObserver } from "./observer.js";
