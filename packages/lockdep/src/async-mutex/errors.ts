export const E_TIMEOUT = new Error("timeout while waiting for mutex to become available");
export const E_ALREADY_LOCKED = new Error("mutex already locked");
export const E_CANCELED = new Error("request for lock canceled");
