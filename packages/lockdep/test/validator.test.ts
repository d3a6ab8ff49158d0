import {
  LockdepError,
  LockError,
  Mutex,
  RwSemaphore,
  Task,
  assertHeld,
  assertHeldRead,
  assertHeldWrite,
  assertNotHeld,
  formatProblem,
  lockdep,
  mightLock,
  type CycleProblem,
  type Problem,
} from "@vfiokit/lockdep";
import { describe, expect, it, vi } from "vitest";
import { freshValidator } from "./support/validator.js";

freshValidator();

/** Takes each in turn, then lets go of all. */
function nest(task: Task, ...locks: Mutex[]): void {
  for (const lock of locks) void lock.lock(task);
  for (const lock of locks.toReversed()) lock.unlock(task);
}

function caught(run: () => unknown): Problem {
  try {
    run();
  } catch (error) {
    if (error instanceof LockdepError) return error.problem;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const orders = (problem: Problem): string[] =>
  (problem as CycleProblem).orders.map((order) => `${order.from} -> ${order.to}`);

describe("orders", () => {
  it("finds the inversion from two orders that never met", () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    const t2 = new Task("t2");
    void b.lock(t2);
    const problem = caught(() => a.lock(t2)) as CycleProblem;
    expect(problem.kind).toBe("cycle");
    expect(orders(problem)).toEqual(["a -> b", "b -> a"]);
    expect(problem.orders.map((order) => order.task.name)).toEqual(["t1", "t2"]);
  });

  it("refuses the lock when it throws: nothing has changed", () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    const t2 = new Task("t2");
    void b.lock(t2);
    expect(() => a.lock(t2)).toThrow(LockdepError);
    expect(a.owner).toBeUndefined();
    expect(t2.holds.map((hold) => hold.lock)).toEqual([b]);
    b.unlock(t2);
  });

  it("speaks of classes, not of instances", () => {
    const make = (): [Mutex, Mutex] => [new Mutex("outer"), new Mutex("inner")];
    nest(new Task("t1"), ...make());
    expect(caught(() => nest(new Task("t2"), ...make().reverse())).kind).toBe("cycle");
  });

  it("takes the place of construction for the class of a lock without a name", () => {
    const outer = (): Mutex => new Mutex();
    const inner = (): Mutex => new Mutex();
    nest(new Task("t1"), outer(), inner());
    const problem = caught(() => nest(new Task("t2"), inner(), outer())) as CycleProblem;
    expect(problem.acquiring.class).toMatch(/^validator\.test\.ts:\d+:\d+$/);
  });

  it("reports the shortest cycle", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => new Mutex(name)) as [Mutex, Mutex, Mutex, Mutex];
    nest(new Task("t1"), a, b);
    nest(new Task("t2"), b, c);
    nest(new Task("t3"), c, d);
    nest(new Task("t4"), a, c);
    expect(orders(caught(() => nest(new Task("t5"), d, a)))).toEqual(["a -> c", "c -> d", "d -> a"]);
  });

  it("reports each distinct problem once, and goes on", () => {
    const seen: Problem[] = [];
    lockdep.configure({ mode: (problem) => seen.push(problem) });
    const [a, b, c] = [new Mutex("a"), new Mutex("b"), new Mutex("c")];
    const task = new Task("t");
    nest(task, a, b);
    for (let i = 0; i < 3; i++) nest(task, b, a);
    nest(task, c, b, a); // the same mistake in a longer chain
    expect(seen.map(orders)).toEqual([["a -> b", "b -> a"]]);
    nest(task, a, c);
    expect(seen.map(orders)[1]).toEqual(["c -> a", "a -> c"]);
    expect(lockdep.problems).toEqual(seen);
  });

  it("adds an order from every lock held, not just from the nearest", () => {
    const [a, b, c] = [new Mutex("a"), new RwSemaphore("b"), new Mutex("c")];
    const t1 = new Task("t1");
    void a.lock(t1);
    void b.downRead(t1, { recursive: true });
    void c.lock(t1);
    c.unlock(t1);
    b.upRead(t1);
    a.unlock(t1);
    expect(orders(caught(() => nest(new Task("t2"), c, a)))).toEqual(["a -> c", "c -> a"]);
  });

  it("lets go of locks in any order, and knows what is still held", () => {
    const [a, b, c] = [new Mutex("a"), new Mutex("b"), new Mutex("c")];
    const t1 = new Task("t1");
    void a.lock(t1);
    void b.lock(t1);
    a.unlock(t1);
    void c.lock(t1); // b -> c, and no a -> c
    b.unlock(t1);
    c.unlock(t1);
    expect(lockdep.orders).toMatchObject([
      { from: "a", to: "b", kinds: ["EN"] },
      { from: "b", to: "c", kinds: ["EN"] },
    ]);
    expect(lockdep.stats.edges).toBe(2);
    expect(orders(caught(() => nest(new Task("t2"), c, b)))).toEqual(["b -> c", "c -> b"]);
  });
});

describe("trylock", () => {
  it("waits for nobody, so nothing depends on it", () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    const t2 = new Task("t2");
    void b.lock(t2);
    expect(a.tryLock(t2)).toBe(true);
    a.unlock(t2);
    b.unlock(t2);
    expect(lockdep.problems).toEqual([]);
  });

  it("but who holds it makes others wait", () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    const t2 = new Task("t2");
    expect(b.tryLock(t2)).toBe(true);
    expect(caught(() => a.lock(t2)).kind).toBe("cycle");
  });

  it("of a second lock of the class is no recursion", () => {
    const task = new Task("t");
    const [one, two] = [new Mutex("device"), new Mutex("device")];
    void one.lock(task);
    expect(two.tryLock(task)).toBe(true);
  });
});

describe("recursion", () => {
  it("two locks of a class in one task are a report, unless a subclass orders them", () => {
    const [one, two] = [new Mutex("device"), new Mutex("device")];
    const task = new Task("t");
    void one.lock(task);
    const problem = caught(() => two.lock(task));
    expect(problem).toMatchObject({ kind: "recursion", sameLock: false, acquiring: { class: "device" } });
    expect(two.lock(task, { subclass: 1 })).toBeUndefined();
    two.unlock(task);
    one.unlock(task);
    void two.lock(task, { subclass: 1 });
    expect(orders(caught(() => one.lock(task)))).toEqual(["device -> device/1", "device/1 -> device"]);
  });

  it("the very same lock is a report and an error", () => {
    const [mutex, task] = [new Mutex("m"), new Task("t")];
    void mutex.lock(task);
    expect(caught(() => mutex.lock(task))).toMatchObject({ kind: "recursion", sameLock: true });
    expect(() => mutex.lock(task)).toThrow(LockError);
  });

  it("reading twice is a report, since a writer may queue in between; reading recursively is not", () => {
    const [sem, task] = [new RwSemaphore("s"), new Task("t")];
    void sem.downRead(task);
    expect(sem.downRead(task, { recursive: true })).toBeUndefined();
    expect(caught(() => sem.downRead(task)).kind).toBe("recursion");
  });

  it("a subclass is 0 to 7", () => {
    expect(() => new Mutex("m").lock(new Task("t"), { subclass: 8 })).toThrow(RangeError);
  });
});

describe("readers", () => {
  type How = "read" | "recursive" | "write";
  const take = (task: Task, sem: RwSemaphore, how: How): void => {
    void (how === "write" ? sem.downWrite(task) : sem.downRead(task, { recursive: how === "recursive" }));
  };
  const both = (first: [RwSemaphore, How], second: [RwSemaphore, How]): void => {
    const task = new Task("t");
    take(task, ...first);
    take(task, ...second);
    for (const hold of task.holds.toReversed()) hold[Symbol.dispose]();
  };

  // lockdep-design.rst: a cycle is a deadlock unless somewhere a recursive read waits for a reader.
  const hows = ["read", "recursive", "write"] as const;
  for (const a1 of hows)
    for (const b1 of hows)
      for (const b2 of hows)
        for (const a2 of hows) {
          const weak = (b1 === "recursive" && b2 !== "write") || (a2 === "recursive" && a1 !== "write");
          it(`${a1} a, ${b1} b against ${b2} b, ${a2} a: ${weak ? "harmless" : "a cycle"}`, () => {
            const [a, b] = [new RwSemaphore("a"), new RwSemaphore("b")];
            both([a, a1], [b, b1]);
            const second = (): void => both([b, b2], [a, a2]);
            if (weak) second();
            else expect(caught(second).kind).toBe("cycle");
          });
        }

  it("a cycle that is harmless does not hide one that is not", () => {
    const [a, b] = [new RwSemaphore("a"), new RwSemaphore("b")];
    both([a, "read"], [b, "recursive"]);
    both([b, "read"], [a, "recursive"]); // a cycle in the graph, and no deadlock
    expect(caught(() => both([a, "write"], [b, "write"])).kind).toBe("cycle");
  });

  it("a node reached weakly first is searched again when it is reached strongly", () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((n) => new RwSemaphore(n));
    both([a!, "write"], [c!, "recursive"]); // a -> c, weak into c
    both([a!, "write"], [b!, "write"]);
    both([b!, "write"], [c!, "write"]); // a -> b -> c, strong, longer
    both([c!, "read"], [d!, "write"]); // leaves c shared: needs the strong way
    expect(orders(caught(() => both([d!, "write"], [a!, "write"])))).toEqual([
      "a -> b",
      "b -> c",
      "c -> d",
      "d -> a",
    ]);
  });
});

describe("misuse", () => {
  it("unlock of what is not held", () => {
    expect(caught(() => new Mutex("m").unlock(new Task("t")))).toMatchObject({
      kind: "bad-unlock",
      class: "m",
    });
    expect(caught(() => new RwSemaphore("s").upRead(new Task("t")))).toMatchObject({ kind: "bad-unlock" });
  });

  it("locks still held at the end of a task", () => {
    const [mutex, task] = [new Mutex("m"), new Task("t")];
    void mutex.lock(task);
    const problem = caught(() => task.end());
    expect(problem).toMatchObject({ kind: "held-at-exit", held: [{ class: "m" }] });
    expect(() => {
      using _ = new Task("fine");
    }).not.toThrow();
  });

  it("assertions", () => {
    const [mutex, sem, task, other] = [
      new Mutex("m"),
      new RwSemaphore("s"),
      new Task("t"),
      new Task("other"),
    ];
    const expected = (run: () => void): unknown => {
      const problem = caught(run);
      return problem.kind === "assert" ? problem.expected : problem.kind;
    };
    expect(expected(() => assertHeld(mutex, task))).toBe("held");
    assertNotHeld(mutex, task);
    void mutex.lock(task);
    assertHeld(mutex, task);
    assertHeldWrite(mutex, task);
    expect(expected(() => assertNotHeld(mutex, task))).toBe("not held");
    expect(expected(() => assertHeld(mutex, other))).toBe("held");
    void sem.downWrite(task);
    assertHeldWrite(sem, task);
    expect(expected(() => assertHeldRead(sem, task))).toBe("held for reading");
    sem.downgradeWrite(task);
    assertHeldRead(sem, task);
    expect(expected(() => assertHeldWrite(sem, task))).toBe("held for writing");
    lockdep.configure({ mode: "off" });
    assertHeld(mutex, other);
  });

  it("mightLock checks the order of a lock that is not taken this time", () => {
    const [a, sem] = [new Mutex("a"), new RwSemaphore("s")];
    const t1 = new Task("t1");
    void a.lock(t1);
    mightLock(sem, t1, "read");
    expect(sem.holders()).toEqual([]);
    a.unlock(t1);
    const t2 = new Task("t2");
    void sem.downWrite(t2);
    expect(caught(() => a.lock(t2)).kind).toBe("cycle");
  });
});

describe("a task that awaits another", () => {
  it("passes on what it holds", () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    const parent = new Task("parent");
    void a.lock(parent);
    const child = new Task("child", { parent });
    nest(child, b);
    assertHeld(a, child);
    a.unlock(parent);
    expect(orders(caught(() => nest(new Task("t"), b, a)))).toEqual(["a -> b", "b -> a"]);
  });
});

describe("real hangs", () => {
  /** Two tasks that really wait for each other: t1 for b, then t2 for a. */
  async function cross(): Promise<{ first: Promise<void>; second: Promise<void>; t2: Task }> {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    const [t1, t2] = [new Task("t1"), new Task("t2")];
    expect(a.tryLock(t1)).toBe(true);
    expect(b.tryLock(t2)).toBe(true);
    const first = Promise.resolve(b.lock(t1));
    await Promise.resolve();
    const second = Promise.resolve(a.lock(t2));
    return { first, second, t2 };
  }

  it("names every task with what it holds, where, what it waits for and since when", async () => {
    const seen: Problem[] = [];
    lockdep.configure({ mode: (problem) => seen.push(problem) });
    await cross();
    const hang = seen.find((problem) => problem.kind === "hang")!;
    expect(hang.tasks).toMatchObject([
      { task: { name: "t2" }, waitsFor: { class: "a" }, held: [{ class: "b" }], holders: [{ name: "t1" }] },
      { task: { name: "t1" }, waitsFor: { class: "b" }, held: [{ class: "a" }], holders: [{ name: "t2" }] },
    ]);
    for (const { held, waitsFor, waited } of hang.tasks) {
      expect(held[0]!.at[0]!.file).toMatch(/validator\.test\.ts$/);
      expect(waitsFor.at[0]!.file).toMatch(/validator\.test\.ts$/);
      expect(waited).toBeGreaterThanOrEqual(0);
    }
    expect(formatProblem(hang)).toMatch(/t2\/\d+ has waited \d+ ms for lock\(a\), held by t1/);
  });

  it("when it throws, breaks the hang: the wait that closed it is rejected, the rest goes on", async () => {
    lockdep.configure({ mode: () => undefined });
    nest(new Task("t"), new Mutex("a"), new Mutex("b"));
    nest(new Task("t"), new Mutex("b"), new Mutex("a")); // reported here, so not again below
    lockdep.configure({ mode: "throw" });
    const { first, second, t2 } = await cross();
    await expect(second).rejects.toMatchObject({ problem: { kind: "hang" } });
    t2.holds[0]![Symbol.dispose]();
    await first;
  });

  it("is found through tasks that await others", async () => {
    const seen: Problem[] = [];
    lockdep.configure({ mode: (problem) => seen.push(problem) });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    const [t1, t2] = [new Task("t1"), new Task("t2")];
    expect(a.tryLock(t1)).toBe(true);
    expect(b.tryLock(t2)).toBe(true);
    void b.lock(new Task("t1.child", { parent: t1 }));
    expect(seen.filter((problem) => problem.kind === "hang")).toEqual([]);
    void a.lock(new Task("t2.child", { parent: t2 }));
    expect(seen.filter((problem) => problem.kind === "hang")).toHaveLength(1);
    await Promise.resolve();
  });

  it("a child that waits for its parent's lock hangs alone", () => {
    const seen: Problem[] = [];
    lockdep.configure({ mode: (problem) => seen.push(problem) });
    const [a, parent] = [new Mutex("a"), new Task("parent")];
    void a.lock(parent);
    void a.lock(new Task("child", { parent }));
    expect(seen.map((problem) => problem.kind)).toEqual(["recursion", "hang"]);
  });

  it("a queue without a cycle is no hang", () => {
    const mutex = new Mutex("m");
    void mutex.lock(new Task("t0"));
    for (let i = 1; i < 50; i++) void mutex.lock(new Task(`t${i}`));
    expect(lockdep.problems).toEqual([]);
  });

  it("reports a wait that is longer than asked for", async () => {
    vi.useFakeTimers();
    try {
      lockdep.configure({ waitTimeout: 1000 });
      const mutex = new Mutex("m");
      const [owner, waiter, quick] = [new Task("owner"), new Task("waiter"), new Task("quick")];
      void mutex.lock(owner);
      const wait = mutex.lock(waiter)!;
      const failed = expect(wait).rejects.toMatchObject({ problem: { kind: "long-wait" } });
      await vi.advanceTimersByTimeAsync(999);
      expect(lockdep.problems).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      await failed;
      const granted = mutex.lock(quick);
      mutex.unlock(owner);
      await granted;
      await vi.advanceTimersByTimeAsync(5000);
      expect(lockdep.problems).toHaveLength(1);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("configuration", () => {
  it("off costs nothing and learns nothing; switched on while locks are held, it knows them", () => {
    lockdep.configure({ mode: "off" });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    const t1 = new Task("t1");
    void a.lock(t1);
    expect(lockdep.stats.classes).toBe(0);
    lockdep.configure({ mode: "throw" });
    void b.lock(t1);
    b.unlock(t1);
    a.unlock(t1);
    expect(caught(() => nest(new Task("t2"), b, a)).kind).toBe("cycle");
  });

  it("what was taken while it was off proves no order until somebody takes it so again", () => {
    lockdep.configure({ mode: "off" });
    const [a, b, c] = [new Mutex("a"), new Mutex("b"), new Mutex("c")];
    const t1 = new Task("t1");
    void a.lock(t1);
    void b.lock(t1);
    lockdep.configure({ mode: "throw" });
    void c.lock(t1);
    expect(lockdep.stats.edges).toBe(2); // a -> c and b -> c
    for (const lock of [c, b, a]) lock.unlock(t1);
    nest(new Task("t2"), a, b);
    expect(lockdep.stats.edges).toBe(3);
    expect(caught(() => nest(new Task("t3"), b, a)).kind).toBe("cycle");
  });

  it("a hold's place is that of the first task that held such locks, and a report says so", () => {
    const [a, b, c] = [new Mutex("a"), new Mutex("b"), new Mutex("c")];
    nest(new Task("first"), a, b);
    nest(new Task("other"), b, c);
    const task = new Task("second");
    void b.lock(task);
    const problem = caught(() => a.lock(task)) as CycleProblem;
    expect(problem.holding.firstSeenBy).toMatchObject({ name: "other" });
    expect(formatProblem(problem)).toMatch(/first seen \(by other\/\d+\) at: nest/);
  });

  it("warn prints the report", () => {
    const warn = vi.spyOn(console, "warn").mockReturnValue(undefined);
    lockdep.configure({ mode: "warn" });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    nest(new Task("t2"), b, a);
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]![0]).toContain("possible circular locking dependency detected");
    warn.mockRestore();
  });

  it("says so when a bound is reached, and is off from there on", () => {
    lockdep.configure({ limits: { classes: 3 } });
    const task = new Task("t");
    for (let i = 0; i < 3; i++) nest(task, new Mutex(`m${i}`));
    const problem = caught(() => nest(task, new Mutex("m3")));
    expect(problem).toEqual({ kind: "limit", what: "classes", bound: 3 });
    expect(formatProblem(problem)).toContain("one name");
    nest(task, new Mutex("m4"), new Mutex("m5"));
    lockdep.configure({ limits: { classes: 8191, edges: 2 } });
    const locks = [0, 1, 2].map((i) => new Mutex(`m${i}`));
    expect(caught(() => nest(task, ...locks))).toMatchObject({ what: "edges" });
    lockdep.configure({ limits: { edges: 262_144 } });
  });

  it("forgets chains at their bound, and nothing that was proved", () => {
    lockdep.configure({ limits: { chains: 4 } });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    nest(new Task("t1"), a, b);
    for (let i = 0; i < 20; i++) nest(new Task("t"), new Mutex(`m${i}`));
    expect(lockdep.stats.chains).toBeLessThanOrEqual(4);
    expect(caught(() => nest(new Task("t2"), b, a)).kind).toBe("cycle");
    lockdep.configure({ limits: { chains: 131_072 } });
  });
});
