import { LockError, LockTimeout, lockdep, Mutex, Semaphore, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { freshValidator } from "./support/validator.js";

freshValidator();

const tasks = (count: number): Task[] => Array.from({ length: count }, (_, i) => new Task(`t${i}`));

describe("Semaphore", () => {
  it("gives what is free at once, without a promise", () => {
    const semaphore = new Semaphore(3, "s");
    const task = new Task("t");
    const hold = semaphore.acquire(task, 2);
    expect(hold).toMatchObject({ lock: semaphore, task });
    expect([semaphore.free, semaphore.heldBy(task)]).toEqual([1, 2]);
    semaphore.release(task, 2);
    expect([semaphore.free, task.holds]).toEqual([3, []]);
  });

  it("gives the permits of a scope back", async () => {
    const semaphore = new Semaphore(2, "s");
    const task = new Task("t");
    {
      using _ = await semaphore.acquire(task, 2);
      expect(semaphore.free).toBe(0);
    }
    expect(semaphore.free).toBe(2);
  });

  it("lets a task give back a part of what it holds", () => {
    const semaphore = new Semaphore(5, "s");
    const task = new Task("t");
    void semaphore.acquire(task, 4);
    semaphore.release(task);
    expect([semaphore.free, semaphore.heldBy(task)]).toEqual([2, 3]);
    semaphore.release(task, 3);
    expect(task.holds).toEqual([]);
  });

  it("does not let a request for one overtake a request for many", async () => {
    const semaphore = new Semaphore(3, "s");
    const [a, b, c] = tasks(3) as [Task, Task, Task];
    void semaphore.acquire(a, 2);
    const many = semaphore.acquire(b, 3);
    const one = semaphore.acquire(c, 1);
    expect([many, one].every((wait) => wait instanceof Promise)).toBe(true);
    expect(semaphore.tryAcquire(new Task("d"))).toBeUndefined();
    semaphore.release(a, 2);
    expect(semaphore.holders()).toEqual([b]);
    semaphore.release(b, 3);
    expect(semaphore.holders()).toEqual([c]);
    await Promise.all([many, one]);
    semaphore.release(c);
  });

  it("serves those behind a request for many that is aborted, and leaves no waiter", async () => {
    const semaphore = new Semaphore(3, "s");
    const [a, b, c] = tasks(3) as [Task, Task, Task];
    const abort = new AbortController();
    void semaphore.acquire(a, 2);
    const many = outcome(Promise.resolve(semaphore.acquire(b, 3, { signal: abort.signal })));
    const one = semaphore.acquire(c);
    abort.abort("enough");
    expect(semaphore.holders()).toEqual([a, c]);
    expect(await many).toEqual({ rejected: "enough" });
    await one;
    expect(semaphore.waiters()).toEqual([]);
  });

  it("ends a wait that has lasted too long, and takes what is free whatever the limit", async () => {
    const semaphore = new Semaphore(1, "s");
    const [a, b] = tasks(2) as [Task, Task];
    void semaphore.acquire(a, 1, { timeoutMs: 0 });
    const end = await outcome(Promise.resolve(semaphore.acquire(b, 1, { timeoutMs: 1 })));
    expect(end).toEqual({ rejected: expect.any(LockTimeout) as LockTimeout });
    expect(String((end as { rejected: unknown }).rejected)).toMatch(/t1 has waited 1 ms for s/);
    expect([semaphore.waiters(), b.waiting]).toEqual([[], undefined]);
  });

  it("as a signal, has no holders: post adds, consume uses up", async () => {
    const semaphore = new Semaphore(0, "items");
    const [producer, consumer] = tasks(2) as [Task, Task];
    expect(semaphore.tryConsume(consumer)).toBe(false);
    const wait = semaphore.consume(consumer, 2);
    semaphore.post();
    expect(semaphore.waiters()).toHaveLength(1);
    semaphore.post(2);
    expect(semaphore.waiters()).toEqual([]);
    await wait;
    expect([semaphore.free, semaphore.tryConsume(producer), semaphore.free]).toEqual([1, true, 0]);
    consumer.end();
    expect(lockdep.problems).toEqual([]);
  });

  it.each([0, -1, 1.5, NaN])("refuses %d permits", (permits) => {
    const semaphore = new Semaphore(1, "s");
    const task = new Task("t");
    expect(() => semaphore.acquire(task, permits)).toThrow(RangeError);
    expect(() => semaphore.post(permits)).toThrow(RangeError);
    expect(semaphore.free).toBe(1);
  });
});

describe("the validator and a Semaphore", () => {
  it("reports an order that contradicts that of another lock", () => {
    const [permits, mutex] = [new Semaphore(2, "permits"), new Mutex("m")];
    const [a, b] = tasks(2) as [Task, Task];
    void permits.acquire(a);
    void mutex.lock(a);
    mutex.unlock(a);
    permits.release(a);
    void mutex.lock(b);
    expect(() => permits.acquire(b)).toThrow(/circular locking dependency/);
    expect(permits.free).toBe(2);
  });

  it("reports a task that waits for more of what it holds: two of them can have all between them", () => {
    const permits = new Semaphore(5, "permits");
    const task = new Task("t");
    void permits.acquire(task);
    expect(() => permits.acquire(task)).toThrow(/possible recursive locking/);
  });

  it("a task that wants more than it leaves for itself is refused", () => {
    lockdep.configure({ mode: "off" });
    const permits = new Semaphore(3, "permits");
    const task = new Task("t");
    void permits.acquire(task, 2);
    expect(() => permits.acquire(task, 2)).toThrow(LockError);
    expect(permits.waiters()).toEqual([]);
  });

  it("reports permits held at the end, and a release of what is not held", () => {
    const permits = new Semaphore(2, "permits");
    const task = new Task("t");
    expect(() => permits.release(task)).toThrow(/bad unlock balance/);
    void permits.acquire(task);
    expect(() => task.end()).toThrow(/still has locks held/);
  });

  it("sees a hang when all holders are stuck", async () => {
    const problems: string[] = [];
    lockdep.configure({ mode: ({ kind }) => problems.push(kind) });
    const [permits, mutex] = [new Semaphore(2, "permits"), new Mutex("m")];
    const [a, b, c] = tasks(3) as [Task, Task, Task];
    void permits.acquire(a);
    void permits.acquire(b);
    void mutex.lock(c);
    void mutex.lock(a);
    void permits.acquire(c);
    expect(problems.filter((kind) => kind === "hang")).toEqual([]); // b can still let go
    void mutex.lock(b);
    expect(problems.filter((kind) => kind === "hang")).toEqual(["hang"]);
    await settle();
  });

  it("sees no hang where somebody posts", () => {
    const problems: string[] = [];
    lockdep.configure({ mode: ({ kind }) => problems.push(kind) });
    const [permits, mutex] = [new Semaphore(0, "permits"), new Mutex("m")];
    const [a, b] = tasks(2) as [Task, Task];
    permits.post();
    void permits.acquire(a);
    void mutex.lock(b);
    void permits.acquire(b);
    void mutex.lock(a);
    expect(problems).not.toContain("hang");
  });
});
