import { ConditionVariable, LockError, LockTimeout, lockdep, Mutex, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { freshValidator } from "./support/validator.js";

freshValidator();

function world() {
  return {
    mutex: new Mutex("m"),
    changed: new ConditionVariable("changed"),
    a: new Task("a"),
    b: new Task("b"),
    c: new Task("c"),
  };
}

describe("ConditionVariable", () => {
  it("releases the mutex at once, and has it again when it is notified", async () => {
    const { mutex, changed, a, b } = world();
    void mutex.lock(a);
    const wait = changed.wait(a, mutex);
    expect(mutex.owner).toBeUndefined();
    expect(mutex.tryLock(b)).toBe(true);
    changed.notify();
    expect(mutex.owner).toBe(b);
    expect(mutex.waiters().map(({ task }) => task)).toEqual([a]);
    mutex.unlock(b);
    expect(mutex.owner).toBe(a);
    await wait;
    mutex.unlock(a);
  });

  it("gives the mutex to the waiter in the notify itself, if it is free", async () => {
    const { mutex, changed, a, b } = world();
    void mutex.lock(a);
    const wait = changed.wait(a, mutex);
    changed.notify();
    expect([mutex.owner, mutex.tryLock(b)]).toEqual([a, false]);
    await wait;
  });

  it("wakes one, first come first, or all who wait; a notify that finds nobody is lost", async () => {
    const { mutex, changed, a, b, c } = world();
    changed.notify();
    const woken: string[] = [];
    const waits = [a, b, c].map(async (task) => {
      const lock = mutex.lock(task);
      if (lock) await lock;
      await changed.wait(task, mutex);
      woken.push(task.name);
      mutex.unlock(task);
    });
    await settle();
    expect(woken).toEqual([]);
    changed.notify();
    await settle();
    expect(woken).toEqual(["a"]);
    changed.notifyAll();
    await Promise.all(waits);
    expect(woken).toEqual(["a", "b", "c"]);
  });

  it.each(["the task's signal", "the wait's signal", "a time limit"])(
    "%s ends the wait with the mutex held",
    async (how) => {
      const { mutex, changed, b } = world();
      const abort = new AbortController();
      const a = new Task("a", how === "the task's signal" ? { signal: abort.signal } : {});
      const options =
        how === "the wait's signal"
          ? { signal: abort.signal }
          : how === "a time limit"
            ? { timeoutMs: 1 }
            : {};
      void mutex.lock(a);
      const wait = outcome(changed.wait(a, mutex, options));
      void mutex.lock(b);
      if (how === "a time limit") await expect.poll(() => mutex.waiters().length).toBe(1);
      else abort.abort("enough");
      expect([changed.waiters(), mutex.waiters().map(({ task }) => task)]).toEqual([[], [a]]);
      mutex.unlock(b);
      expect(mutex.owner).toBe(a);
      expect(await wait).toEqual({
        rejected: how === "a time limit" ? (expect.any(LockTimeout) as LockTimeout) : "enough",
      });
      mutex.unlock(a);
    },
  );

  it("a wait that was notified is not aborted any more: the wake-up is not lost", async () => {
    const { mutex, changed, a, b } = world();
    const abort = new AbortController();
    void mutex.lock(a);
    const wait = outcome(changed.wait(a, mutex, { signal: abort.signal }));
    void mutex.lock(b);
    changed.notify();
    abort.abort("too late");
    mutex.unlock(b);
    expect(await wait).toEqual({ resolved: undefined });
  });

  it("does not even let go if it is aborted already", async () => {
    const { mutex, changed, a } = world();
    void mutex.lock(a);
    const end = await outcome(changed.wait(a, mutex, { signal: AbortSignal.abort("before") }));
    expect([end, mutex.owner, changed.waiters()]).toEqual([{ rejected: "before" }, a, []]);
  });

  it("refuses a task without the mutex", () => {
    const { mutex, changed, a } = world();
    lockdep.configure({ mode: "off" });
    expect(() => changed.wait(a, mutex)).toThrow(LockError);
    lockdep.configure({ mode: "throw" });
    expect(() => changed.wait(a, mutex)).toThrow(/bad unlock balance/);
  });
});

describe("the validator and a ConditionVariable", () => {
  it("reports that the mutex is taken again while a later lock is held", () => {
    const { mutex, changed, a } = world();
    const inner = new Mutex("inner");
    void mutex.lock(a);
    void inner.lock(a);
    expect(() => changed.wait(a, mutex)).toThrow(/circular locking dependency/);
    // Nothing has changed: the mutex was not released.
    expect([mutex.owner, changed.waiters()]).toEqual([a, []]);
    mutex.unlock(a);
    inner.unlock(a);
    expect(a.holds).toEqual([]);
  });

  it("knows the order of the mutex after the wait as before", async () => {
    const { mutex, changed, a, b } = world();
    const inner = new Mutex("inner");
    void mutex.lock(a);
    const wait = changed.wait(a, mutex);
    changed.notify();
    await wait;
    void inner.lock(a);
    inner.unlock(a);
    mutex.unlock(a);
    void inner.lock(b);
    expect(() => mutex.lock(b)).toThrow(/circular locking dependency/);
  });

  it("sees a hang of a waiter that wants its mutex back", () => {
    const { mutex, changed, a, b } = world();
    const outer = new Mutex("outer");
    void outer.lock(a);
    void mutex.lock(a);
    const wait = outcome(changed.wait(a, mutex));
    lockdep.configure({ mode: () => undefined });
    void mutex.lock(b);
    void outer.lock(b);
    lockdep.takeProblems();
    changed.notify();
    expect(lockdep.takeProblems().map(({ kind }) => kind)).toEqual(["hang"]);
    void wait;
  });
});
