import { closeSync, constants, openSync } from "node:fs";
import { EAGAIN, errno, libc, SyscallError } from "./libc.js";

const LOCK_EX = 2;
const LOCK_NB = 4;
const RETRY_MS = 5;
/** Far longer than anybody of ours holds one. */
const PATIENCE_MS = 2000;

/**
 * Runs `step` while no other process of ours does the same for a name in the folder. What is locked is the folder
 * itself (flock(2)): no file is left, and the kernel unlocks it for whoever is killed.
 * @throws SyscallError EAGAIN: somebody keeps the lock; what `step` throws
 */
export function withFolderLocked<T>(folder: string, step: () => T): T {
  let fd: number;
  try {
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return step(); // which says what is wrong with the folder; one that can only be written to has no lock
  }
  try {
    lock(fd, folder);
    return step();
  } finally {
    closeSync(fd);
  }
}

function lock(fd: number, folder: string): void {
  const deadline = performance.now() + PATIENCE_MS;
  while (libc.flock(fd, LOCK_EX | LOCK_NB) !== 0) {
    const error = errno();
    if (error !== EAGAIN) return; // a file system without locks
    if (performance.now() > deadline)
      throw new SyscallError("flock", error, `${folder}: another program keeps it locked`);
    pause(RETRY_MS);
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
