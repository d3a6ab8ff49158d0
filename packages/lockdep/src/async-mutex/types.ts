import type { Task } from "../task.js";

/** Lets go of what an `acquire` got; only the first call counts. */
export type Releaser = () => void;

export interface MutexInterface {
  acquire(priority?: number): Promise<Releaser>;
  runExclusive<T>(callback: () => Promise<T> | T, priority?: number): Promise<T>;
  waitForUnlock(priority?: number): Promise<void>;
  isLocked(): boolean;
  release(): void;
  cancel(): void;
}

export interface SemaphoreInterface {
  acquire(weight?: number, priority?: number): Promise<[value: number, release: Releaser]>;
  runExclusive<T>(
    callback: (value: number) => Promise<T> | T,
    weight?: number,
    priority?: number,
  ): Promise<T>;
  waitForUnlock(weight?: number, priority?: number): Promise<void>;
  isLocked(): boolean;
  getValue(): number;
  setValue(value: number): void;
  release(weight?: number): void;
  cancel(): void;
}

/** One request for a lock. */
export interface Request {
  readonly task: Task;
  readonly weight: number;
  readonly priority: number;
  /** Do not wait: fail with this. */
  readonly orElse?: Error;
}

/** What a mutex, a semaphore and their decorators have in common below the surface. */
export const TAKE = Symbol("take");
export interface Takeable {
  [TAKE](request: Request): Promise<[value: number, release: Releaser]>;
}
