import type { Task } from "../task.js";

/** That of async-mutex. */
export interface MutexInterface {
  acquire(priority?: number): Promise<MutexInterface.Releaser>;
  runExclusive<T>(callback: MutexInterface.Worker<T>, priority?: number): Promise<T>;
  waitForUnlock(priority?: number): Promise<void>;
  isLocked(): boolean;
  release(): void;
  cancel(): void;
}

// async-mutex names these types as members of its interfaces, which only a namespace can be.
/* eslint-disable @typescript-eslint/no-namespace */
export declare namespace MutexInterface {
  /** Lets go of what an `acquire` got; only the first call counts. */
  type Releaser = () => void;
  type Worker<T> = () => Promise<T> | T;
}

/** That of async-mutex. */
export interface SemaphoreInterface {
  acquire(weight?: number, priority?: number): Promise<[value: number, release: SemaphoreInterface.Releaser]>;
  runExclusive<T>(callback: SemaphoreInterface.Worker<T>, weight?: number, priority?: number): Promise<T>;
  waitForUnlock(weight?: number, priority?: number): Promise<void>;
  isLocked(): boolean;
  getValue(): number;
  setValue(value: number): void;
  release(weight?: number): void;
  cancel(): void;
}

export declare namespace SemaphoreInterface {
  /** Lets go of what an `acquire` got; only the first call counts. */
  type Releaser = () => void;
  type Worker<T> = (value: number) => Promise<T> | T;
}
/* eslint-enable @typescript-eslint/no-namespace */

export type Releaser = MutexInterface.Releaser;
export type Ticket = [value: number, release: Releaser];

/** One request for a lock. */
export interface Request {
  readonly task: Task;
  readonly weight: number;
  readonly priority: number;
  /** Do not wait: fail with this. */
  readonly orElse?: Error;
  /** Do not wait for longer than so many milliseconds. */
  readonly limit?: { readonly timeout: number; readonly error: Error };
}

/** What a mutex, a semaphore and their decorators have in common below the surface. */
export const TAKE = Symbol("take");
export interface Takeable {
  [TAKE](request: Request): Promise<Ticket>;
}
