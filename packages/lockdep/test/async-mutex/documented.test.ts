import { lockdep } from "@vfiokit/lockdep";
import * as original from "async-mutex";
import * as ours from "@vfiokit/lockdep/async-mutex";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();
// The lock of a test is often asked for by whoever has it: watched, and never refused.
beforeEach(() => lockdep.configure({ mode: () => undefined }));

// What async-mutex documents, checked of async-mutex itself as well: so that the two cannot drift apart.
describe.each([
  ["async-mutex", original as unknown as typeof ours],
  ["@vfiokit/lockdep/async-mutex", ours],
])("%s", (_, { Mutex, Semaphore, withTimeout, tryAcquire, E_TIMEOUT, E_ALREADY_LOCKED, E_CANCELED }) => {
  /** A lock that is held, and how to let go of it. */
  const held = async () => {
    const mutex = new Mutex();
    return { mutex, release: await mutex.acquire() };
  };

  describe("Mutex", () => {
    it("runExclusive runs one callback at a time, in order, and adopts its result", async () => {
      const mutex = new Mutex();
      const events: string[] = [];
      const run = (name: string) =>
        mutex.runExclusive(async () => {
          events.push(`${name} begins`);
          await settle();
          events.push(`${name} ends`);
          return name;
        });
      expect(await Promise.all([run("a"), run("b")])).toEqual(["a", "b"]);
      expect(events).toEqual(["a begins", "a ends", "b begins", "b ends"]);
      expect(await mutex.runExclusive(() => 42)).toBe(42);
    });

    it("is released when the callback throws or rejects", async () => {
      const mutex = new Mutex();
      const failing = (): number => {
        throw new Error("thrown");
      };
      expect(await outcome(mutex.runExclusive(failing))).toEqual({ rejected: new Error("thrown") });
      expect(await outcome(mutex.runExclusive(() => Promise.reject(new Error("later"))))).toEqual({
        rejected: new Error("later"),
      });
      expect(mutex.isLocked()).toBe(false);
    });

    it("acquire gives an idempotent release", async () => {
      const { mutex, release } = await held();
      const second = mutex.acquire();
      release();
      release();
      const releaseSecond = await second;
      expect(mutex.isLocked()).toBe(true);
      release();
      expect(mutex.isLocked()).toBe(true);
      releaseSecond();
      expect(mutex.isLocked()).toBe(false);
    });

    it("release() lets go, whoever holds it; unlocked it stays unlocked", async () => {
      const { mutex } = await held();
      mutex.release();
      expect(mutex.isLocked()).toBe(false);
      mutex.release();
      await mutex.acquire();
      expect(mutex.isLocked()).toBe(true);
    });

    it("cancel rejects those who wait, with E_CANCELED or an error of one's own, and leaves the holder", async () => {
      for (const error of [undefined, new Error("mine")]) {
        const mutex = new Mutex(error);
        const release = await mutex.acquire();
        const waits = [outcome(mutex.acquire()), outcome(mutex.runExclusive(() => 1))];
        mutex.cancel();
        for (const wait of waits) expect(await wait).toEqual({ rejected: error ?? E_CANCELED });
        expect(mutex.isLocked()).toBe(true);
        release();
        expect(mutex.isLocked()).toBe(false);
      }
    });

    it("waitForUnlock waits without locking", async () => {
      const { mutex, release } = await held();
      let unlocked = false;
      const wait = mutex.waitForUnlock().then(() => (unlocked = true));
      await settle();
      expect(unlocked).toBe(false);
      release();
      await wait;
      expect(mutex.isLocked()).toBe(false);
      await mutex.waitForUnlock();
    });

    it("serves greater priorities first, equal ones in order", async () => {
      const { mutex, release } = await held();
      const order: string[] = [];
      const ask = (name: string, priority?: number) =>
        mutex.runExclusive(() => void order.push(name), priority);
      const all = [ask("zero"), ask("low", -1), ask("high", 5), ask("high too", 5), ask("zero too", 0)];
      release();
      await Promise.all(all);
      expect(order).toEqual(["high", "high too", "zero", "zero too", "low"]);
    });
  });

  describe("Semaphore", () => {
    it("lets as many in as its value says, and tells them the value", async () => {
      const semaphore = new Semaphore(2);
      const [first, releaseFirst] = await semaphore.acquire();
      const [second] = await semaphore.acquire();
      expect([first, second, semaphore.getValue(), semaphore.isLocked()]).toEqual([2, 1, 0, true]);
      const third = semaphore.runExclusive((value) => value);
      releaseFirst();
      expect(await third).toBe(1);
      expect(semaphore.getValue()).toBe(1);
    });

    it("weighs requests: a heavy one waits, and holds up those behind it", async () => {
      const semaphore = new Semaphore(3);
      const [, release] = await semaphore.acquire(2);
      const order: string[] = [];
      const heavy = semaphore.runExclusive(() => void order.push("heavy"), 3);
      const light = semaphore.runExclusive(() => void order.push("light"), 1);
      await settle();
      expect(order).toEqual([]);
      release();
      await Promise.all([heavy, light]);
      expect(order).toEqual(["heavy", "light"]);
      expect(semaphore.getValue()).toBe(3);
      expect(() => semaphore.acquire(0)).toThrow("invalid weight 0: must be positive");
    });

    it("setValue lets waiters in; release takes a weight", async () => {
      const semaphore = new Semaphore(0);
      const wait = semaphore.acquire();
      semaphore.setValue(2);
      expect((await wait)[0]).toBe(2);
      semaphore.release(3);
      expect(semaphore.getValue()).toBe(4);
    });

    it("waitForUnlock takes a weight and a priority", async () => {
      const semaphore = new Semaphore(1);
      let ready = false;
      const wait = semaphore.waitForUnlock(2).then(() => (ready = true));
      await settle();
      expect(ready).toBe(false);
      semaphore.setValue(2);
      await wait;
      expect(ready).toBe(true);
    });

    it("of one is a mutex", async () => {
      const semaphore = new Semaphore(1);
      const [value, release] = await semaphore.acquire();
      expect([value, semaphore.isLocked()]).toEqual([1, true]);
      const canceled = outcome(semaphore.acquire());
      semaphore.cancel();
      expect(await canceled).toEqual({ rejected: E_CANCELED });
      release();
      expect(semaphore.getValue()).toBe(1);
    });
  });

  describe("withTimeout", () => {
    it("rejects with E_TIMEOUT, or an error of one's own, without running the callback", async () => {
      vi.useFakeTimers();
      try {
        for (const error of [undefined, new Error("mine")]) {
          const mutex = new Mutex();
          const limited = withTimeout(mutex, 100, error);
          const release = await limited.acquire();
          const callback = vi.fn<() => void>();
          const waits = [outcome(limited.acquire()), outcome(limited.runExclusive(callback))];
          await vi.advanceTimersByTimeAsync(99);
          let over = false;
          void Promise.all(waits).then(() => (over = true));
          await settle();
          expect(over).toBe(false);
          await vi.advanceTimersByTimeAsync(1);
          for (const wait of waits) expect(await wait).toEqual({ rejected: error ?? E_TIMEOUT });
          expect(callback).not.toHaveBeenCalled();
          // Who gave up does not keep the lock when it comes.
          release();
          await settle();
          expect(mutex.isLocked()).toBe(false);
        }
      } finally {
        vi.useRealTimers();
      }
    });

    it("in time, behaves as the lock itself", async () => {
      const limited = withTimeout(new Semaphore(2), 10_000);
      const [value, release] = await limited.acquire();
      expect([value, limited.getValue()]).toEqual([2, 1]);
      expect(await limited.runExclusive((left) => left)).toBe(1);
      release();
      expect(limited.getValue()).toBe(2);
    });
  });

  describe("tryAcquire", () => {
    it("rejects with E_ALREADY_LOCKED, or an error of one's own, instead of waiting", async () => {
      const { mutex, release } = await held();
      expect(await outcome(tryAcquire(mutex).acquire())).toEqual({ rejected: E_ALREADY_LOCKED });
      expect(await outcome(tryAcquire(mutex, new Error("mine")).runExclusive(() => 1))).toEqual({
        rejected: new Error("mine"),
      });
      release();
      expect(await tryAcquire(mutex).runExclusive(() => 1)).toBe(1);
      expect(mutex.isLocked()).toBe(false);
    });
  });
});
