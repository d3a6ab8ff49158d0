import type * as original from "async-mutex";
import {
  Mutex,
  Semaphore,
  tryAcquire,
  withTimeout,
  type MutexInterface,
  type SemaphoreInterface,
} from "@vfiokit/lockdep/async-mutex";
import { expect, expectTypeOf, it } from "vitest";

it("the types are those of async-mutex, under its names", async () => {
  expectTypeOf<MutexInterface>().toEqualTypeOf<original.MutexInterface>();
  expectTypeOf<SemaphoreInterface>().toEqualTypeOf<original.SemaphoreInterface>();
  expectTypeOf<MutexInterface.Releaser>().toExtend<original.MutexInterface.Releaser>();
  expectTypeOf<original.MutexInterface.Worker<number>>().toExtend<MutexInterface.Worker<number>>();
  expectTypeOf<SemaphoreInterface.Releaser>().toExtend<original.SemaphoreInterface.Releaser>();
  expectTypeOf<original.SemaphoreInterface.Worker<number>>().toExtend<SemaphoreInterface.Worker<number>>();

  const worker: SemaphoreInterface.Worker<number> = (value) => Promise.resolve(value);
  const locks: MutexInterface[] = [new Mutex(), withTimeout(new Mutex(), 10), tryAcquire(new Mutex())];
  for (const lock of locks) {
    const release: MutexInterface.Releaser = await lock.acquire();
    release();
  }
  expect(await new Semaphore(2).runExclusive(worker)).toBe(2);
});
