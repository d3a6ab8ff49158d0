import {
  assertNothingHeld,
  formatProblem,
  LockContext,
  lockdep,
  LockError,
  LockMap,
  Mutex,
  pin,
  problemGraph,
  RwSemaphore,
  Task,
  toJson,
  unpin,
  type Problem,
} from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { freshValidator } from "./support/validator.js";

freshValidator();

const task = (name = "t"): Task => new Task(name);

/** The problems that `body` has, each of which has every report. */
function problemsOf(body: () => void): readonly Problem[] {
  lockdep.configure({ mode: () => undefined });
  body();
  const problems = lockdep.takeProblems();
  for (const problem of problems) {
    expect(formatProblem(problem)).toContain("Why: ");
    expect(JSON.parse(JSON.stringify(toJson(problem)))).toEqual(toJson(problem));
    expect(problemGraph(problem).edges.length).toBeGreaterThan(0);
  }
  return problems;
}

describe("LockMap", () => {
  it("shows a wait for a job with a lock held that the job takes", () => {
    const [job, mutex] = [new LockMap("job"), new Mutex("m")];
    const [worker, caller] = [task("worker"), task("caller")];
    const running = job.acquire(worker);
    void mutex.lock(worker);
    mutex.unlock(worker);
    running[Symbol.dispose]();
    job.mightWait(caller); // without the lock: right
    void mutex.lock(caller);
    expect(() => job.mightWait(caller)).toThrow(/circular locking dependency/);
  });

  it("shows a job that waits for itself", () => {
    const job = new LockMap("job");
    const worker = task();
    using _ = job.acquire(worker);
    expect(() => job.mightWait(worker)).toThrow(/recursive locking/);
  });

  it("keeps nobody out, and is released by whom it was acquired", () => {
    lockdep.configure({ mode: "off" });
    const job = new LockMap("job");
    const [a, b] = [task("a"), task("b")];
    job.acquire(a);
    job.acquire(b);
    expect(job.holders()).toEqual([a, b]);
    job.release(a);
    expect(() => job.release(a)).toThrow(LockError);
    expect([job.holders(), a.holds]).toEqual([[b], []]);
  });
});

describe("assertNothingHeld", () => {
  it("reports what is held, by the task or by one that awaits it", () => {
    const mutex = new Mutex("m");
    const parent = task("parent");
    const child = new Task("child", { parent });
    assertNothingHeld(child);
    void mutex.lock(parent);
    const [problem] = problemsOf(() => assertNothingHeld(child));
    expect(problem).toMatchObject({ kind: "held-here", task: { name: "child" }, held: [{ class: "m" }] });
  });
});

describe("pin", () => {
  it.each(["mutex", "rwsem"])("reports the release of a pinned %s, once it is unpinned none", (kind) => {
    const lock = kind === "mutex" ? new Mutex("m") : new RwSemaphore("m");
    const owner = task();
    const take = (): void => void (lock instanceof Mutex ? lock.lock(owner) : lock.downWrite(owner));
    const release = (): void => (lock instanceof Mutex ? lock.unlock(owner) : lock.upWrite(owner));
    take();
    pin(lock, owner);
    expect(release).toThrow(/releasing a pinned lock/);
    expect(lock.holders()).toEqual([owner]); // it is as it was
    unpin(lock, owner);
    {
      using _ = pin(lock, owner);
    }
    release();
    expect(() => pin(lock, owner)).toThrow(LockError);
    take();
    pin(lock, owner);
    expect(problemsOf(release)).toMatchObject([{ kind: "pinned", class: "m" }]);
    take(); // released all the same: the pin is gone with it
    expect(() => unpin(lock, owner)).toThrow(LockError);
  });
});

describe("LockContext", () => {
  const handle = (context: LockContext, mutex: Mutex): void => {
    const handler = task("handler");
    using _1 = context.enter(handler);
    void mutex.lock(handler);
    mutex.unlock(handler);
  };
  const hold = (mutex: Mutex): void => {
    const outside = task("outside");
    void mutex.lock(outside);
    mutex.unlock(outside);
  };

  it.each(["used first", "held first"])(
    "reports a class used in it and held while it can begin (%s)",
    (order) => {
      const context = new LockContext("irq");
      const mutex = new Mutex("m");
      const both = [() => handle(context, mutex), () => hold(mutex)];
      const problems = problemsOf(() =>
        (order === "used first" ? both : both.reverse()).forEach((act) => act()),
      );
      expect(problems).toMatchObject([{ kind: "context", context: "irq", class: "m" }]);
    },
  );

  it("has nothing against a class that is held only while it cannot begin", () => {
    const context = new LockContext("irq");
    const mutex = new Mutex("m");
    const outside = task("outside");
    expect(
      problemsOf(() => {
        handle(context, mutex);
        using _ = context.disable(outside);
        void mutex.lock(outside);
        mutex.unlock(outside);
      }),
    ).toEqual([]);
  });

  it("reports a lock that is still held when it can begin again", () => {
    const context = new LockContext("irq");
    const mutex = new Mutex("m");
    const outside = task("outside");
    const problems = problemsOf(() => {
      handle(context, mutex);
      const off = context.disable(outside);
      void mutex.lock(outside);
      off[Symbol.dispose]();
      mutex.unlock(outside);
    });
    expect(problems).toMatchObject([{ kind: "context", class: "m" }]);
  });

  it.each([
    ["order", "used", "held"],
    ["held", "order", "used"],
    ["used", "held", "order"],
  ])("reports an order from a class used in it to one held while it can begin: %s, %s, %s", (...order) => {
    const context = new LockContext("irq");
    const [safe, between, unsafe] = [new Mutex("safe"), new Mutex("between"), new Mutex("unsafe")];
    const acts: Record<string, () => void> = {
      used: () => handle(context, safe),
      held: () => hold(unsafe),
      order: () => {
        const outside = task("ordered");
        using _ = context.disable(outside);
        for (const [outer, inner] of [
          [safe, between],
          [between, unsafe],
        ] as const) {
          void outer.lock(outside);
          void inner.lock(outside);
          inner.unlock(outside);
          outer.unlock(outside);
        }
      },
    };
    const problems = problemsOf(() => order.forEach((act) => acts[act]!()));
    expect(problems).toMatchObject([{ kind: "context-order", from: "safe", to: "unsafe", context: "irq" }]);
  });
});
