import { LockError, Mutex, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { locksOnly } from "./support/validator.js";

locksOnly();

const tasks = (count: number): Task[] => Array.from({ length: count }, (_, i) => new Task(`t${i}`));

describe("Mutex", () => {
  it("is taken at once when it is free: no promise", () => {
    const mutex = new Mutex("m");
    const task = new Task("t");
    expect(mutex.lock(task)).toBeUndefined();
    expect(mutex.owner).toBe(task);
    expect(task.holds.map((hold) => [hold.lock, hold.mode])).toEqual([[mutex, "exclusive"]]);
    mutex.unlock(task);
    expect(mutex.owner).toBeUndefined();
    expect(task.holds).toEqual([]);
  });

  it("is first come, first served", async () => {
    const mutex = new Mutex("m");
    const all = tasks(5);
    const order: string[] = [];
    await Promise.all(
      all.map(async (task) => {
        const wait = mutex.lock(task);
        if (wait) await wait;
        order.push(task.name);
        await Promise.resolve();
        mutex.unlock(task);
      }),
    );
    expect(order).toEqual(all.map((task) => task.name));
  });

  it("tells who waits, first come first, and forgets who gave up or got it", async () => {
    const mutex = new Mutex("m");
    const [a, b, d] = tasks(3) as [Task, Task, Task];
    const abort = new AbortController();
    const c = new Task("c", { signal: abort.signal });
    const waiting = () => mutex.waiters().map(({ task, mode }) => [task, mode]);
    void mutex.lock(a);
    expect(mutex.waiters()).toEqual([]);
    const waits = [b, c, d].map((task) => outcome(Promise.resolve(mutex.lock(task))));
    expect(waiting()).toEqual([b, c, d].map((task) => [task, "exclusive"]));
    expect(mutex.waiters()[0]!.since).toBeLessThanOrEqual(performance.now());
    abort.abort();
    expect(waiting().map(([task]) => task)).toEqual([b, d]);
    mutex.unlock(a);
    expect(waiting().map(([task]) => task)).toEqual([d]);
    mutex.unlock(b);
    mutex.unlock(d);
    await Promise.all(waits);
  });

  it("is the waiter's as soon as the owner lets go: nobody slips in before the waiter runs", async () => {
    const mutex = new Mutex("m");
    const [a, b, c] = tasks(3) as [Task, Task, Task];
    void mutex.lock(a);
    const wait = mutex.lock(b);
    mutex.unlock(a);
    expect(mutex.owner).toBe(b);
    expect(mutex.tryLock(c)).toBe(false);
    await wait;
    expect(b.holds[0]!.lock).toBe(mutex);
  });

  it("tryLock takes it only if that needs no wait", () => {
    const mutex = new Mutex("m");
    const [a, b] = tasks(2) as [Task, Task];
    expect(mutex.tryLock(a)).toBe(true);
    expect(mutex.tryLock(b)).toBe(false);
    expect(mutex.tryLock(a)).toBe(false);
    mutex.unlock(a);
    expect(mutex.tryLock(b)).toBe(true);
  });

  it("refuses to be unlocked by a task that does not own it", () => {
    const mutex = new Mutex("m");
    const [a, b] = tasks(2) as [Task, Task];
    expect(() => mutex.unlock(a)).toThrow(new LockError("t0 releases m, which it does not hold"));
    void mutex.lock(a);
    expect(() => mutex.unlock(b)).toThrow(LockError);
    expect(mutex.owner).toBe(a);
  });

  it("refuses to be taken twice by one task, which would wait for itself for ever", () => {
    const mutex = new Mutex("m");
    const task = new Task("t");
    void mutex.lock(task);
    expect(() => mutex.lock(task)).toThrow(new LockError("t takes m, which it holds already"));
    mutex.unlock(task);
    expect(mutex.lock(task)).toBeUndefined();
  });

  it("is released in any order", () => {
    const [first, second, third] = [new Mutex("1"), new Mutex("2"), new Mutex("3")];
    const task = new Task("t");
    void first.lock(task);
    void second.lock(task);
    void third.lock(task);
    second.unlock(task);
    expect(task.holds.map((hold) => hold.lock)).toEqual([first, third]);
    first.unlock(task);
    third.unlock(task);
    expect(task.holds).toEqual([]);
  });

  it("acquire() holds it for a scope, with and without a wait", async () => {
    const mutex = new Mutex("m");
    const [a, b] = tasks(2) as [Task, Task];
    let waiting: Promise<void>;
    {
      using hold = await mutex.acquire(a);
      expect(hold.task).toBe(a);
      waiting = (async () => {
        using _ = await mutex.acquire(b);
        expect(mutex.isHeldBy(b)).toBe(true);
      })();
    }
    await waiting;
    expect(mutex.owner).toBeUndefined();
  });

  it("names its class by the place that constructs it, unless it is given a name", () => {
    const make = (): Mutex => new Mutex();
    expect(make().className).toMatch(/^mutex\.test\.ts:\d+:\d+$/);
    expect(make().className).toBe(make().className);
    expect(new Mutex().className).not.toBe(new Mutex("x").className);
  });
});

describe("ending a wait by AbortSignal", () => {
  for (const place of [0, 1, 2]) {
    it(`leaves the queue from place ${place} of 3, and the others keep their order`, async () => {
      const mutex = new Mutex("m");
      const owner = new Task("owner");
      void mutex.lock(owner);
      const controllers = [0, 1, 2].map(() => new AbortController());
      const waiters = controllers.map(({ signal }, i) => new Task(`w${i}`, { signal }));
      const outcomes = waiters.map((task) => outcome(mutex.lock(task)!));
      const reason = new Error("killed");
      controllers[place]!.abort(reason);
      await expect(outcomes[place]!).resolves.toEqual({ rejected: reason });

      mutex.unlock(owner);
      for (const task of waiters) {
        if (task === waiters[place]) continue;
        expect(mutex.owner).toBe(task);
        mutex.unlock(task);
      }
      expect(mutex.owner).toBeUndefined();
      expect(waiters[place]!.holds).toEqual([]);
    });
  }

  it("an abort that comes after the grant is too late: the task owns the lock", async () => {
    const mutex = new Mutex("m");
    const owner = new Task("owner");
    const controller = new AbortController();
    const waiter = new Task("waiter", { signal: controller.signal });
    void mutex.lock(owner);
    const result = outcome(mutex.lock(waiter)!);
    mutex.unlock(owner); // grants
    controller.abort(); // in the same turn, before the waiter runs
    await expect(result).resolves.toEqual({ resolved: undefined });
    expect(mutex.owner).toBe(waiter);
  });

  it("an abort that comes before the unlock in the same turn wins", async () => {
    const mutex = new Mutex("m");
    const owner = new Task("owner");
    const controller = new AbortController();
    const waiter = new Task("waiter", { signal: controller.signal });
    void mutex.lock(owner);
    const result = outcome(mutex.lock(waiter)!);
    controller.abort(new Error("first"));
    mutex.unlock(owner);
    await expect(result).resolves.toEqual({ rejected: new Error("first") });
    expect(mutex.owner).toBeUndefined();
  });

  it("a wait may have a signal of its own besides the task's", async () => {
    const mutex = new Mutex("m");
    const owner = new Task("owner");
    const ofTask = new AbortController();
    const ofWait = new AbortController();
    const waiter = new Task("waiter", { signal: ofTask.signal });
    void mutex.lock(owner);
    const first = outcome(mutex.lock(waiter, { signal: ofWait.signal })!);
    ofWait.abort(new Error("this wait"));
    await expect(first).resolves.toEqual({ rejected: new Error("this wait") });
    const second = outcome(mutex.lock(waiter, { signal: new AbortController().signal })!);
    ofTask.abort(new Error("the task"));
    await expect(second).resolves.toEqual({ rejected: new Error("the task") });
    mutex.unlock(owner);
    expect(mutex.owner).toBeUndefined();
  });

  it("an aborted task takes a lock that is free, and does not wait for one that is not", async () => {
    const mutex = new Mutex("m");
    const killed = new Task("killed", { signal: AbortSignal.abort(new Error("gone")) });
    expect(mutex.lock(killed)).toBeUndefined();
    mutex.unlock(killed);
    void mutex.lock(new Task("owner"));
    await expect(outcome(mutex.lock(killed)!)).resolves.toEqual({ rejected: new Error("gone") });
  });

  it("leaves no listener on the signal, however the wait ended", async () => {
    const mutex = new Mutex("m");
    const owner = new Task("owner");
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    const waiter = new Task("waiter", { signal });
    void mutex.lock(owner);
    const granted = mutex.lock(waiter);
    expect(listeners).toBe(1);
    mutex.unlock(owner);
    await granted;
    expect(listeners).toBe(0);
    await settle();
  });
});
