/* eslint-disable @typescript-eslint/require-await, @typescript-eslint/await-thenable, @typescript-eslint/unbound-method, @typescript-eslint/no-unnecessary-condition -- odd awaits are what this is about */
import { stat } from "node:fs";
import { stat as statFile } from "node:fs/promises";
import { Mutex as Theirs } from "async-mutex";
import pLimit from "p-limit";
import { describe, expect, it } from "vitest";
import { explore, formatReport, replay, type Body, type Exploration } from "@vfiokit/explore";
import { Mutex as DropIn, Semaphore as DropInSemaphore } from "@vfiokit/lockdep/async-mutex";

/** Not the one that tasks get. */
const realTimeout = setTimeout;

/** Takes one lock, then another, and lets go of both. */
type WithLock = <T>(work: () => Promise<T>) => Promise<T>;

/** A lock as people write it by hand: a chain of promises. */
function chain(): WithLock {
  let tail: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = tail.then(work);
    tail = turn.catch(() => undefined);
    return turn;
  };
}

const locks: Record<string, () => WithLock> = {
  "async-mutex": () => {
    const mutex = new Theirs();
    return (work) => mutex.runExclusive(work);
  },
  "p-limit": () => {
    const limit = pLimit(1);
    return (work) => limit(work);
  },
  "a chain of promises": chain,
  "the drop-in for async-mutex": () => {
    const mutex = new DropIn();
    return (work) => mutex.runExclusive(work);
  },
};

const twoLocks =
  (lock: () => WithLock, orders: readonly (readonly [number, number])[]): Body =>
  (x) => {
    const both = [lock(), lock()];
    orders.forEach(([first, second], i) =>
      x.task(`t${i}`, () => both[first]!(() => both[second]!(async () => undefined))),
    );
  };

const STRATEGIES = ["exhaustive", "all"] as const;

describe("two tasks that take two locks in opposite orders deadlock, with", () => {
  for (const [name, lock] of Object.entries(locks))
    for (const strategy of STRATEGIES)
      it(`${name} (${strategy})`, async () => {
        const options = { strategy, lockdep: false };
        const body = twoLocks(lock, [
          [0, 1],
          [1, 0],
        ]);
        const report = await explore(body, options);
        expect(formatReport(report)).toMatch("FAILED");
        const again = await replay(body, report.failures[0]!.schedule, options);
        expect(again.failures).toMatchObject([{ message: report.failures[0]!.message }]);
      });
});

it("the same order of async-mutex's locks is proved", async () => {
  const body = twoLocks(locks["async-mutex"]!, [
    [0, 1],
    [0, 1],
  ]);
  expect(formatReport(await explore(body, { lockdep: false }))).toMatch(
    /^PROVED: no interleaving of \d tasks fails/,
  );
});

describe("the drop-in for async-mutex is a lock:", () => {
  it("a deadlock is found among tasks that share nothing else, and told by the names of who waits", async () => {
    const report = await explore(
      twoLocks(locks["the drop-in for async-mutex"]!, [
        [0, 1],
        [1, 0],
      ]),
      {
        plainFields: "none",
        lockdep: false,
      },
    );
    expect(report.failures).toMatchObject([{ kind: "deadlock" }]);
    // The awaits are its own, after it has the lock.
    const labels = report.failures[0]!.trace.map(({ label }) => label.replace(/\(.*#/, "(")).filter(
      (label) => label !== "await",
    );
    expect(labels).toEqual([
      "begin",
      "begin",
      "lock(1)",
      "resume(1)",
      "lock(2)",
      "resume(2)",
      "lock(2)",
      "lock(1)",
    ]);
  });

  it("a permit too few for two who want two", async () => {
    const body: Body = (x) => {
      const permits = new DropInSemaphore(3);
      for (const name of ["a", "b"])
        x.task(name, async () => {
          const [, first] = await permits.acquire(1);
          const [, second] = await permits.acquire(2);
          second();
          first();
        });
    };
    for (const strategy of STRATEGIES)
      expect(await explore(body, { strategy, lockdep: false })).toMatchObject({ verdict: "failed" });
  });

  it("who waited for an unlock finds it locked again, or not", async () => {
    const seen = new Set<boolean>();
    const report = await explore(
      (x) => {
        const mutex = new DropIn();
        x.task("holder", async () => (await mutex.acquire())());
        x.task("waiter", async () => {
          await mutex.waitForUnlock();
          seen.add(mutex.isLocked());
        });
      },
      { lockdep: false },
    );
    expect(report).toMatchObject({ verdict: "proved" });
    expect([...seen].sort()).toEqual([false, true]);
  });
});

describe("two tasks that both find a thing free", () => {
  const taking =
    (check: (x: Exploration, isFree: () => boolean) => Promise<boolean>): Body =>
    (x) => {
      let [taken, takers] = [false, 0];
      for (const name of ["a", "b"])
        x.task(name, async () => {
          if (!(await check(x, () => !taken))) return;
          taken = true;
          takers++;
        });
      x.finally(() => {
        if (takers > 1) throw new Error("both took it");
      });
    };
  const checks: Record<string, Parameters<typeof taking>[0]> = {
    "in an async function": async (x, isFree) => {
      await x.step();
      return isFree();
    },
    "in an async function without a step": async (_x, isFree) => isFree(),
    "in a then": (x, isFree) => x.step().then(isFree),
    "and await a promise that is settled": (_x, isFree) => Promise.resolve(isFree()),
  };
  for (const [name, check] of Object.entries(checks))
    for (const strategy of STRATEGIES)
      it(`${name} (${strategy})`, async () => {
        const report = await explore(taking(check), { strategy });
        expect(report.failures).toMatchObject([{ message: "both took it" }]);
      });
});

describe("what cannot be explored is unknown, and never proved:", () => {
  it("an await of what is no promise, with its place", async () => {
    const report = await explore((x) => {
      for (const name of ["a", "b"])
        x.task(name, async () => {
          await null;
        });
    });
    expect(report.verdict).toBe("unknown");
    expect(report.unknown.join()).toMatch(/a awaits what is no promise, at .*foreign-promises\.test\.ts:\d+/);
  });

  for (const plainFields of ["conflict", "none"] as const)
    it(`what the world outside settles (plain fields: ${plainFields})`, async () => {
      const report = await explore(
        (x) =>
          x.task("a", async () => {
            await new Promise((resolve) => void realTimeout(resolve, 60_000).unref());
          }) && undefined,
        { plainFields },
      );
      expect(report).toMatchObject({ verdict: "unknown", failures: [] });
      expect(report.unknown).toEqual(["a awaits something that is not explored, after begin"]);
    });
});

describe("what the world outside answers in the same turn is unknown all the same:", () => {
  const waits: Record<string, () => Promise<unknown>> = {
    "a promise of the platform's": () => statFile("/"),
    "a callback of the platform's": () =>
      new Promise<void>((resolve) => {
        stat("/", () => resolve());
      }),
  };
  for (const [name, wait] of Object.entries(waits))
    for (const plainFields of ["conflict", "none"] as const)
      it(`${name} (plain fields: ${plainFields})`, async () => {
        for (let run = 0; run < 5; run++) {
          const report = await explore(
            (x) => {
              x.task("a", () => wait().then(() => undefined));
              x.task("b", () => x.step());
            },
            { plainFields },
          );
          expect(report).toMatchObject({ verdict: "unknown", failures: [] });
          expect(report.unknown.join()).toContain("a awaits something that is not explored, after begin");
        }
      });
});

it("a promise that another task resolves is explored, even if tasks were said to share nothing", async () => {
  const body: Body = (x) => {
    let tell!: () => void;
    const told = new Promise<void>((resolve) => (tell = resolve));
    x.task("ann", () => told);
    x.task("bob", async () => {
      await x.step();
      tell();
    });
  };
  for (const plainFields of ["conflict", "none"] as const)
    for (const strategy of STRATEGIES)
      expect(await explore(body, { plainFields, strategy })).toMatchObject({
        verdict: "proved",
        unknown: [],
      });
});

it("promises are what they were, when an exploration is over or has failed", async () => {
  const names = ["constructor", "then"] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(Promise.prototype, name));
  await explore((x) => {
    x.task("a", async () => {
      await Promise.resolve();
      throw new Error("oops");
    });
  });
  expect(names.map((name) => Object.getOwnPropertyDescriptor(Promise.prototype, name))).toEqual(before);
  expect(Object.getOwnPropertyDescriptor(Promise, "resolve")!.value).toBe(Promise.resolve);
});
