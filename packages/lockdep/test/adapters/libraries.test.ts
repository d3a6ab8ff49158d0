import AsyncLock from "async-lock";
import * as asyncMutex from "async-mutex";
import { lockdep } from "@vfiokit/lockdep";
import { instrumentAsyncLock } from "@vfiokit/lockdep/async-lock";
import { classOfKey, instrument } from "@vfiokit/lockdep/instrument";
import { runTask } from "@vfiokit/lockdep/node";
import { instrumentLimit } from "@vfiokit/lockdep/p-limit";
import { instrumentQueue } from "@vfiokit/lockdep/p-queue";
import pLimit from "p-limit";
import PQueue from "p-queue";
import { beforeEach, describe, expect, it } from "vitest";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

const kinds = (): string[] => lockdep.problems.map(({ kind }) => kind);

/** Runs a callback under one of two locks of a library. */
type Run = <T>(callback: () => Promise<T>) => Promise<T>;

const libraries: Record<string, () => [Run, Run]> = {
  "async-lock": () => {
    const lock = instrumentAsyncLock(new AsyncLock(), { name: "lock" });
    return [(callback) => lock.acquire("a", callback), (callback) => lock.acquire("b", callback)];
  },
  "p-limit": () => {
    const [a, b] = [instrumentLimit(pLimit(1), { name: "a" }), instrumentLimit(pLimit(1), { name: "b" })];
    return [(callback) => a(callback), (callback) => b(callback)];
  },
  "p-queue": () => {
    const a = instrumentQueue(new PQueue({ concurrency: 1 }), { name: "a" });
    const b = instrumentQueue(new PQueue({ concurrency: 1 }), { name: "b" });
    return [(callback) => a.add(callback), (callback) => b.add(callback)];
  },
  "a mutex of async-mutex, by instrument": () => {
    const [a, b] = ["a", "b"].map((name) => instrument(new asyncMutex.Mutex(), { name }));
    const run =
      (mutex: asyncMutex.Mutex): Run =>
      async (callback) => {
        const release = await mutex.acquire();
        try {
          return await callback();
        } finally {
          release();
        }
      };
    return [run(a!), run(b!)];
  },
  "a semaphore of async-mutex, by instrument, released by its method": () => {
    const [a, b] = ["a", "b"].map((name) => instrument(new asyncMutex.Semaphore(1), { name }));
    const run =
      (semaphore: asyncMutex.Semaphore): Run =>
      async (callback) => {
        const [, release] = await semaphore.acquire();
        try {
          return await callback();
        } finally {
          release();
        }
      };
    return [run(a!), run(b!)];
  },
};

describe.each(Object.entries(libraries))("%s", (_, make) => {
  let a: Run;
  let b: Run;
  beforeEach(() => ([a, b] = make()));

  it("gives what the callback gives, and passes on what it throws", async () => {
    expect(await a(() => Promise.resolve(42))).toBe(42);
    expect(await outcome(a(() => Promise.reject(new Error("mine"))))).toEqual({
      rejected: new Error("mine"),
    });
    expect(await a(() => b(() => Promise.resolve("both")))).toBe("both");
    expect(kinds()).toEqual([]);
  });

  it("locks nested in opposite order are a cycle, though nothing waits", async () => {
    await a(() => b(settle));
    expect(lockdep.orders).toHaveLength(1);
    expect(await outcome(b(() => a(settle)))).toMatchObject({ rejected: { problem: { kind: "cycle" } } });
    // What was refused is not held.
    expect(await a(() => b(() => Promise.resolve(1)))).toBe(1);
  });

  it("branches side by side make no order", async () => {
    await runTask("t", () => Promise.all([a(settle), b(settle), a(settle)]));
    expect(lockdep.orders).toEqual([]);
  });

  it("a real hang is broken", async () => {
    lockdep.configure({ mode: () => undefined });
    const cross = (outer: Run, inner: Run): Promise<void> =>
      outer(async () => {
        await settle();
        await settle();
        await inner(settle);
      });
    await cross(a, b);
    await cross(b, a);
    lockdep.configure({ mode: "throw" });
    const ends = await Promise.all([outcome(cross(a, b)), outcome(cross(b, a))]);
    expect(ends.filter((end) => "rejected" in end)).toMatchObject([
      { rejected: { problem: { kind: "hang" } } },
    ]);
  });
});

describe("async-lock", () => {
  it("keys that differ by numbers are of one class, and several keys are taken in their order", async () => {
    const lock = instrumentAsyncLock(new AsyncLock(), { name: "lock" });
    await lock.acquire(["user:17", "order:4"], settle);
    expect(lockdep.orders).toMatchObject([{ from: "lock user:*", to: "lock order:*" }]);
    const wrong = outcome(lock.acquire("order:5", () => lock.acquire("user:18", settle)));
    expect(await wrong).toMatchObject({ rejected: { problem: { kind: "cycle" } } });
  });

  it("callbacks work as they do", async () => {
    const lock = instrumentAsyncLock(new AsyncLock(), { name: "lock" });
    const result = await new Promise((resolve, reject) => {
      lock.acquire<number>(
        "a",
        (done) => setImmediate(() => done(null, 7)),
        (error, value) => {
          if (error) reject(error);
          else resolve(value);
        },
      );
    });
    expect(result).toBe(7);
  });

  it("a time limit is a bound of the wait", async () => {
    lockdep.configure({ mode: () => undefined });
    const lock = instrumentAsyncLock(new AsyncLock(), { name: "lock" });
    const again = lock.acquire("a", () => lock.acquire("a", settle, { timeout: 5 }));
    expect(await outcome(again)).toMatchObject({
      rejected: { message: expect.stringContaining("timed out") as string },
    });
  });
});

it("limits and queues of more than one at a time are left alone", async () => {
  const limit = instrumentLimit(pLimit(2), { name: "limit" });
  const queue = instrumentQueue(new PQueue({ concurrency: 2 }), { name: "queue" });
  await limit(() => queue.add(settle));
  await queue.add(() => limit(settle));
  expect([limit.activeCount, queue.size]).toEqual([0, 0]);
  expect(lockdep.orders).toEqual([]);
});

it("the class of a key leaves out numbers and UUIDs", () => {
  expect(classOfKey("user:17")).toBe("user:*");
  expect(classOfKey("job/123e4567-e89b-12d3-a456-426614174000/lock")).toBe("job/*/lock");
});
