import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { lockdep } from "@vfiokit/lockdep";
import { Mutex, Semaphore, withTimeout, E_TIMEOUT } from "@vfiokit/lockdep/async-mutex";
import { currentTask, runTask } from "@vfiokit/lockdep/node";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();
beforeEach(() => lockdep.configure({ mode: () => undefined }));

const kinds = (): string[] => lockdep.problems.map(({ kind }) => kind);
const orders = (): number => lockdep.orders.length;

const use = async (mutex: Mutex): Promise<void> => {
  const release = await mutex.acquire();
  await settle();
  release();
};
const nest = async (outer: Mutex, inner: Mutex): Promise<void> => {
  const release = await outer.acquire();
  await settle();
  const releaseInner = await inner.acquire();
  releaseInner();
  release();
};

describe("acquire() where no task is named", () => {
  it("finds A-B and B-A, one after the other", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    await nest(a, b);
    expect(kinds()).toEqual([]);
    await nest(b, a);
    expect(kinds()).toEqual(["cycle"]);
  });

  it("finds a real hang, as it happens", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    void nest(a, b);
    void nest(b, a);
    await settle();
    await settle();
    await settle();
    expect(kinds()).toContain("hang");
    const hang = lockdep.problems.find((problem) => problem.kind === "hang");
    expect(new Set(hang?.tasks.map(({ task }) => task.id)).size).toBe(2);
  });

  it("makes no order of locks that are held one after the other, or out of order", async () => {
    const [a, b, c] = [new Mutex(), new Mutex(), new Mutex()];
    await use(a);
    await use(b);
    expect(orders()).toBe(0);
    const releaseA = await a.acquire();
    const releaseB = await b.acquire();
    releaseA(); // hand over hand
    const releaseC = await c.acquire();
    releaseB();
    releaseC();
    expect(lockdep.orders).toHaveLength(2); // a -> b, b -> c, and no a -> c
  });

  it.each([
    ["within a task", (body: () => Promise<unknown>) => runTask("t", body)],
    ["outside of tasks", (body: () => Promise<unknown>) => body()],
  ])("branches of a Promise.all make no order of what they hold, %s", async (_, run) => {
    const [a, b, c, outer] = [new Mutex(), new Mutex(), new Mutex(), new Mutex()];
    await run(() => Promise.all([use(a), use(b), use(c)]));
    await run(() => Promise.all([use(c), use(b), use(a)]));
    await run(() => Promise.all([a, b, c].map(async (mutex) => (await settle(), use(mutex)))));
    expect(orders()).toBe(0);
    // What is held where they fork is before each of them.
    await run(async () => {
      const release = await outer.acquire();
      await Promise.all([use(a), use(b)]);
      release();
    });
    expect(orders()).toBe(2);
    expect(kinds()).toEqual([]);
  });

  it("leaves the task of runTask what it is, and its name in the reports", async () => {
    const [a, b] = [new Mutex(), new Mutex()];
    await runTask("request", async (task) => {
      const release = await a.acquire();
      expect(currentTask()).toBe(task);
      const releaseB = await b.acquire();
      releaseB();
      release();
    });
    expect(lockdep.orders).toMatchObject([{ task: { name: "request" } }]);
  });

  it("a lock that somebody else releases later is not held at exit", async () => {
    const mutex = new Mutex();
    const release = await runTask("opens", () => mutex.acquire());
    runTask("closes", () => release());
    await runTask("opens too", () => mutex.acquire());
    mutex.release();
    expect(mutex.isLocked()).toBe(false);
    expect(kinds()).toEqual([]);
    // Nobody holds it for the validator either.
    await nest(mutex, new Mutex());
    expect(kinds()).toEqual([]);
  });

  it("a lock that the task's exception leaves behind is", async () => {
    const mutex = new Mutex();
    const leaky = async (): Promise<void> => {
      await mutex.acquire();
      throw new Error("x");
    };
    await outcome(runTask("leaky", leaky));
    const [problem] = lockdep.problems;
    expect(problem).toMatchObject({ kind: "held-at-exit", task: { name: "leaky" }, thrown: "Error: x" });
    expect(problem?.kind === "held-at-exit" && problem.held[0]?.at[0]).toMatchObject({ fn: "leaky" });
  });

  it("a lock granted after its task ended is reported", async () => {
    const mutex = new Mutex();
    const release = await mutex.acquire();
    const failing = runTask("failing", () => Promise.all([use(mutex), Promise.reject(new Error("x"))]));
    await outcome(failing);
    release();
    expect(lockdep.problems).toMatchObject([{ kind: "after-exit", task: { name: "failing" }, waited: true }]);
  });

  it("asking again for a lock that one releases meanwhile is no mistake", async () => {
    const mutex = new Mutex();
    const release = await mutex.acquire();
    const again = mutex.acquire();
    release();
    (await again)();
    expect(kinds()).toEqual([]);
  });

  it("waiting for a lock of one's own is a hang when nobody has released it for a second", async () => {
    vi.useFakeTimers();
    try {
      const mutex = new Mutex();
      await mutex.acquire();
      void mutex.acquire();
      vi.advanceTimersByTime(999);
      expect(kinds()).toEqual([]);
      vi.advanceTimersByTime(1);
      expect(kinds()).toEqual(["hang"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("or when the program has nothing left to do", () => {
    const built = fileURLToPath(new URL("../../dist", import.meta.url));
    const program = `
      import { lockdep } from "${built}/index.js";
      import { Mutex } from "${built}/async-mutex/index.js";
      lockdep.configure({ mode: (problem) => console.log(problem.kind) });
      const mutex = new Mutex();
      void mutex.acquire().then(() => mutex.acquire());`;
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
      encoding: "utf8",
    });
    expect(stdout.trim()).toBe("hang");
  });

  it("a wait of withTimeout is no hang before its time is over, and is reported as bounded then", async () => {
    vi.useFakeTimers();
    try {
      const [a, b] = [new Mutex(), new Mutex()];
      const limited = withTimeout(a, 60_000);
      const first = outcome(nest(a, b));
      const second = outcome(
        (async () => {
          const release = await b.acquire();
          await settle();
          try {
            await limited.acquire();
          } finally {
            release();
          }
        })(),
      );
      await vi.advanceTimersByTimeAsync(59_999);
      expect(kinds()).toEqual(["cycle"]);
      await vi.advanceTimersByTimeAsync(1);
      expect(await second).toEqual({ rejected: E_TIMEOUT });
      expect(await first).toEqual({ resolved: undefined });
      const hang = lockdep.problems.find((problem) => problem.kind === "hang");
      expect(hang?.tasks.map(({ bounded }) => bounded)).toContain("time limit");
      expect(hang).toHaveProperty("endedBy");
      expect([a.isLocked(), b.isLocked()]).toEqual([false, false]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("a loop of acquisitions keeps nothing of those before", async () => {
    const mutex = new Mutex();
    const { acquire } = await import("../../src/node/acquisition.js").then(({ storage }) => ({
      acquire: storage,
    }));
    for (let i = 0; i < 1000; i++) await use(mutex);
    let depth = 0;
    for (let at = acquire.getStore(); at; at = at.parent) depth++;
    expect(depth).toBeLessThanOrEqual(1);
  });

  it("a semaphore of one is a lock, one of two has no order", async () => {
    const [a, b] = [new Semaphore(1), new Mutex()];
    const [, release] = await a.acquire();
    await use(b);
    release();
    expect(orders()).toBe(1);
    const [, releaseTwo] = await new Semaphore(2).acquire();
    await use(b);
    releaseTwo();
    expect(orders()).toBe(1);
  });
});
