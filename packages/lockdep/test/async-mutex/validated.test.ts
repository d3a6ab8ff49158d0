import { lockdep } from "@vfiokit/lockdep";
import { Mutex, Semaphore, tryAcquire } from "@vfiokit/lockdep/async-mutex";
import { runTask } from "@vfiokit/lockdep/node";
import { describe, expect, it } from "vitest";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

const kinds = (): string[] => lockdep.problems.map((problem) => problem.kind);

describe("the validator behind async-mutex's API", () => {
  it("finds two runExclusive in opposite order, with no task passed and none waiting", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    await a.runExclusive(() => b.runExclusive(() => undefined));
    const wrong = await outcome(b.runExclusive(() => a.runExclusive(() => undefined)));
    expect(wrong).toMatchObject({ rejected: { problem: { kind: "cycle" } } });
    expect([a.isLocked(), b.isLocked()]).toEqual([false, false]);
  });

  it("names the class by the place that constructs the mutex", async () => {
    const [a, b] = [new Mutex(), new Semaphore(1)];
    await a.runExclusive(() => b.runExclusive(() => undefined));
    await outcome(b.runExclusive(() => a.runExclusive(() => undefined)));
    const [problem] = lockdep.problems;
    expect(problem).toMatchObject({ kind: "cycle" });
    expect(problem?.kind === "cycle" && problem.acquiring.class).toMatch(/^validated\.test\.ts:\d+:\d+$/);
  });

  it("finds a mutex taken again within itself, which hangs with async-mutex", async () => {
    const mutex = new Mutex();
    const again = await outcome(mutex.runExclusive(() => mutex.runExclusive(() => undefined)));
    expect(again).toMatchObject({ rejected: { problem: { kind: "recursion", sameLock: true } } });
    expect(mutex.isLocked()).toBe(false);
  });

  it("keeps branches that run side by side apart", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    await runTask("request", () =>
      Promise.all([
        a.runExclusive(settle),
        b.runExclusive(settle),
        a.runExclusive(settle),
        b.runExclusive(settle),
      ]),
    );
    await runTask("other", async () => {
      await b.runExclusive(settle);
      await a.runExclusive(settle);
    });
    expect(kinds()).toEqual([]);
  });

  it("sees acquire and release within a task", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    const nest = (outer: Mutex, inner: Mutex) =>
      runTask("request", async () => {
        const release = await outer.acquire();
        try {
          (await inner.acquire())();
        } finally {
          release();
        }
      });
    await nest(a, b);
    expect(await outcome(nest(b, a))).toMatchObject({ rejected: { problem: { kind: "cycle" } } });
  });

  it("counts tryAcquire as a trylock, and leaves semaphores of more than one alone", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    await a.runExclusive(() => b.runExclusive(() => undefined));
    await b.runExclusive(() => tryAcquire(a).runExclusive(() => undefined));
    const [c, d] = [new Semaphore(2), new Semaphore(2)];
    await c.runExclusive(() => d.runExclusive(() => undefined));
    await d.runExclusive(() => c.runExclusive(() => undefined));
    expect(kinds()).toEqual([]);
  });

  it("breaks a real hang of two", async () => {
    lockdep.configure({ mode: () => undefined });
    const [a, b] = [new Mutex(), new Mutex()];
    const cross = (first: Mutex, second: Mutex) =>
      first.runExclusive(async () => {
        await settle();
        await second.runExclusive(() => undefined);
      });
    await cross(a, b);
    await cross(b, a); // the order is reported here
    lockdep.configure({ mode: "throw" });
    const ends = await Promise.all([outcome(cross(a, b)), outcome(cross(b, a))]);
    expect(ends.filter((end) => "rejected" in end)).toMatchObject([
      { rejected: { problem: { kind: "hang" } } },
    ]);
  });
});
