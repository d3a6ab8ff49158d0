/** That of async-mutex. */
export const E_TIMEOUT = new Error("timeout while waiting for mutex to become available");
/** That of async-mutex. */
export const E_ALREADY_LOCKED = new Error("mutex already locked");
/** That of async-mutex. */
export const E_CANCELED = new Error("request for lock canceled");
