/** A lock was used against its rules: unlocked by a task that does not hold it, or taken twice by one task. */
export class LockError extends Error {
  override readonly name = "LockError";
}
