import { describe, expect, it } from "vitest";
import { Mutex, RwSemaphore } from "@vfiokit/lockdep";
import { explore, minimise, replay, type Body } from "@vfiokit/explore";

/** Two tasks that add to a balance without a lock. */
const lostUpdate: Body = (x) => {
  const balance = x.shared("balance", 0);
  for (const name of ["ann", "bob"]) {
    x.task(name, async () => {
      const before = await balance.get();
      await balance.set(before + 1);
    });
  }
  x.finally(() => expect(balance.current).toBe(2));
};

describe("explore", () => {
  it("finds a lost update, and replays it", async () => {
    const report = await explore(lostUpdate);
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]).toMatchObject({ kind: "assertion" });
    const again = await replay(lostUpdate, report.failures[0]!.schedule);
    expect(again.failures[0]!.message).toBe(report.failures[0]!.message);
    expect(again.failures[0]!.trace).toEqual(report.failures[0]!.trace);
  });

  it("proves that a mutex mends it", async () => {
    const report = await explore((x) => {
      const balance = x.shared("balance", 0);
      const lock = new Mutex("balance.lock");
      for (const name of ["ann", "bob", "cid"]) {
        x.task(name, async (task) => {
          using _ = await lock.acquire(task);
          const before = await balance.get();
          await balance.set(before + 1);
        });
      }
      x.finally(() => expect(balance.current).toBe(3));
    });
    expect(report).toMatchObject({ exhausted: true, failures: [] });
    // Three tasks, one critical section: their orders, and no more.
    expect(report.executions - report.pruned).toBe(6);
  });

  it("finds the deadlock of two locks taken in two orders", async () => {
    const body: Body = (x) => {
      const [a, b] = [new Mutex("A"), new Mutex("B")];
      const take =
        (first: Mutex, second: Mutex) => async (task: Parameters<Parameters<typeof x.task>[1]>[0]) => {
          using _1 = await first.acquire(task);
          using _2 = await second.acquire(task);
        };
      x.task("ab", take(a, b));
      x.task("ba", take(b, a));
    };
    const report = await explore(body, { lockdep: false });
    expect(report.failures[0]).toMatchObject({ kind: "deadlock" });
    expect(report.failures[0]!.message).toMatch(/ab waits for B, held by ba; ba waits for A, held by ab/);
    expect((await explore(body)).failures[0]).toMatchObject({ kind: "lockdep" });
  });

  it("finds a reader that waits for itself behind a writer", async () => {
    const report = await explore(
      (x) => {
        const lock = new RwSemaphore("map");
        const inner = new Mutex("inner");
        x.task("reader", async (task) => {
          using _1 = await lock.read(task);
          using _2 = await inner.acquire(task);
        });
        x.task("nested", async (task) => {
          using _1 = await inner.acquire(task);
          using _2 = await lock.read(task);
        });
        x.task("writer", async (task) => {
          using _ = await lock.write(task);
        });
      },
      { lockdep: false },
    );
    expect(report.failures[0]).toMatchObject({ kind: "deadlock" });
  });

  it("lets readers of one lock commute", async () => {
    const report = await explore((x) => {
      const lock = new RwSemaphore("map");
      for (const name of ["r1", "r2", "r3"]) {
        x.task(name, async (task) => {
          using _ = await lock.read(task);
          await x.step();
        });
      }
    });
    expect(report).toMatchObject({ exhausted: true, failures: [] });
    expect(report.executions).toBe(1);
  });

  it("finds a wake-up that comes before the wait", async () => {
    const report = await explore(
      (x) => {
        let wake: (() => void) | undefined;
        x.task("waiter", async () => {
          await x.step();
          await new Promise<void>((resolve) => (wake = resolve));
        });
        x.task("waker", async () => {
          await x.step();
          wake?.();
        });
      },
      { strategy: "all" },
    );
    expect(report.failures[0]).toMatchObject({ kind: "lost-wakeup" });
  });

  it("minimises a schedule to few switches", async () => {
    const report = await explore(lostUpdate, { strategy: "random", seed: 7 });
    const small = await minimise(lostUpdate, report.failures[0]!);
    expect(small.schedule.split(" ").length).toBeLessThanOrEqual(3);
    expect((await replay(lostUpdate, small.schedule)).failures[0]!.kind).toBe("assertion");
  });
});
