import { Barrier, Latch, lockdep, Mutex, Once, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome } from "./support/outcome.js";
import { freshValidator } from "./support/validator.js";

freshValidator();

const [a, b, c] = ["a", "b", "c"].map((name) => new Task(name)) as [Task, Task, Task];

describe("Barrier", () => {
  it("lets all go on when the last one comes, who does not wait, and begins again", async () => {
    const barrier = new Barrier(3, "phase");
    for (let round = 0; round < 2; round++) {
      const waits = [a, b].map((task) => Promise.resolve(barrier.wait(task)));
      expect(barrier.arrived).toBe(2);
      expect(barrier.wait(c)).toBe(true);
      expect(barrier.arrived).toBe(0);
      expect(await Promise.all(waits)).toEqual([false, false]);
    }
  });

  it("does not count who was aborted", async () => {
    const barrier = new Barrier(2, "phase");
    const abort = new AbortController();
    const gone = outcome(Promise.resolve(barrier.wait(a, { signal: abort.signal })));
    abort.abort("enough");
    expect([await gone, barrier.arrived]).toEqual([{ rejected: "enough" }, 0]);
    expect(barrier.wait(b)).toBeInstanceOf(Promise);
  });
});

describe("Latch", () => {
  it("lets go on at zero, and without a promise from then on", async () => {
    const latch = new Latch(2, "done");
    const wait = latch.wait(a);
    latch.countDown();
    expect([latch.count, latch.waiters()]).toMatchObject([1, [{ task: a }]]);
    latch.countDown();
    await wait;
    expect(latch.wait(b)).toBeUndefined();
    expect(() => latch.countDown()).toThrow(RangeError);
  });
});

describe("Once", () => {
  it("runs once, and then gives its value without a promise", async () => {
    let runs = 0;
    const once = new Once(async () => {
      await Promise.resolve();
      return ++runs;
    }, "once");
    const values = [a, b].map((task) => Promise.resolve(once.get(task)));
    expect(once.holders()).toEqual([a]);
    expect(await Promise.all(values)).toEqual([1, 1]);
    expect([once.get(c), once.done, runs]).toEqual([1, true, 1]);
  });

  it("a failure goes to all who wait; the next call tries again", async () => {
    let runs = 0;
    const once = new Once(async () => {
      await Promise.resolve();
      if (++runs === 1) throw new Error("first");
      return runs;
    }, "once");
    const ends = [a, b].map((task) => outcome(Promise.resolve(once.get(task))));
    expect(await Promise.all(ends)).toEqual([1, 2].map(() => ({ rejected: new Error("first") })));
    expect([once.done, a.holds, await once.get(c)]).toEqual([false, [], 2]);
  });

  it("is a lock while it runs: asked for by its own function, and in two orders", async () => {
    const mutex = new Mutex("m");
    const itself = new Once<unknown>((task): unknown => itself.get(task), "itself");
    expect(() => itself.get(a)).toThrow(/recursive locking/);
    const once = new Once((task) => {
      void mutex.lock(task);
      mutex.unlock(task);
      return 1;
    }, "once");
    expect(await once.get(a)).toBe(1);
    void mutex.lock(b);
    expect(() => once.get(b)).toThrow(/circular locking dependency/); // though it is done
    mutex.unlock(b);
    expect(lockdep.takeProblems()).toHaveLength(2);
  });
});
