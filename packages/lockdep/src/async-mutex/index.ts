/** The API of async-mutex, with every Mutex and Semaphore(1) checked: adopting the validator is changing an import. */
export { Mutex } from "./mutex.js";
export { Semaphore } from "./semaphore.js";
export { withTimeout, tryAcquire } from "./decorators.js";
export { E_TIMEOUT, E_ALREADY_LOCKED, E_CANCELED } from "./errors.js";
export type { MutexInterface, SemaphoreInterface } from "./types.js";
