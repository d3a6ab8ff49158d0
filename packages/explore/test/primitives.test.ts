import { explore, replay, type Body, type ExploreReport } from "@vfiokit/explore";
import {
  Barrier,
  Channel,
  ConditionVariable,
  Latch,
  LockTimeout,
  Mutex,
  Once,
  Semaphore,
} from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";

/** Of each primitive, a program that is right and one that is wrong. */

/** What these programs share besides locks and cells, they share under locks. */
const plainFields = "none";

/** The reduced search; each failure replays. That it reaches what every order reaches is shown in oracle/. */
async function verdict(body: Body, more: { lockdep?: boolean } = {}): Promise<ExploreReport> {
  const options = { ...more, plainFields } as const;
  const report = await explore(body, { ...options, keepGoing: true });
  for (const failure of report.failures) {
    const again = await replay(body, failure.schedule, { ...options, keepGoing: true });
    expect(again.failures.map(({ message }) => message)).toContain(failure.message);
  }
  return report;
}

const kinds = ({ failures }: ExploreReport): string[] =>
  [...new Set(failures.map(({ kind }) => kind))].sort();

describe("Semaphore", () => {
  it("lets no more in than there are permits", async () => {
    const report = await verdict((x) => {
      const permits = new Semaphore(2, "permits");
      const inside = x.shared("inside", 0);
      for (const name of ["a", "b", "c"])
        x.task(name, async (task) => {
          using _ = await permits.acquire(task);
          inside.current++;
          await x.step();
          inside.current--;
        });
      x.invariant(() => expect(inside.current).toBeLessThanOrEqual(2));
    });
    expect(report).toMatchObject({ verdict: "proved" });
  });

  it("finds two tasks that take two semaphores in two orders", async () => {
    const abba: Body = (x) => {
      const [a, b] = [new Semaphore(1, "A"), new Semaphore(1, "B")];
      for (const [name, first, second] of [
        ["ab", a, b],
        ["ba", b, a],
      ] as const)
        x.task(name, async (task) => {
          using _1 = await first.acquire(task);
          using _2 = await second.acquire(task);
        });
    };
    const report = await verdict(abba, { lockdep: false });
    expect(report.failures.map(({ kind, message }) => [kind, message])).toEqual([
      ["deadlock", "ab waits for B, held by ba; ba waits for A, held by ab"],
    ]);
    expect(kinds(await explore(abba, { plainFields }))).toEqual(["lockdep"]);
  });

  it("finds tasks that hold a part each and wait for the rest; taking all at once is right", async () => {
    const each =
      (atOnce: boolean): Body =>
      (x) => {
        const permits = new Semaphore(2, "permits");
        for (const name of ["a", "b"])
          x.task(name, async (task) => {
            if (atOnce) await permits.acquire(task, 2);
            else {
              await permits.acquire(task);
              await permits.acquire(task);
            }
            permits.release(task, 2);
          });
      };
    expect(kinds(await verdict(each(false), { lockdep: false }))).toEqual(["deadlock"]);
    expect(await verdict(each(true))).toMatchObject({ verdict: "proved" });
  });

  it("as a signal, loses no wake-up; a flag that is looked at does", async () => {
    const right: Body = (x) => {
      const items = new Semaphore(0, "items");
      x.task("producer", async () => {
        await x.step();
        items.post();
      });
      x.task("consumer", async (task) => items.consume(task));
    };
    expect(await verdict(right)).toMatchObject({ verdict: "proved" });
    const wrong: Body = (x) => {
      const items = new Semaphore(0, "items");
      const waits = x.shared("waits", false);
      x.task("producer", async () => {
        if (await waits.get()) items.post();
      });
      x.task("consumer", async (task) => {
        await waits.set(true);
        await items.consume(task);
      });
    };
    expect((await verdict(wrong)).failures.map(({ kind, message }) => [kind, message])).toEqual([
      ["lost-wakeup", "consumer waits for items"],
    ]);
  });
});

describe("ConditionVariable", () => {
  /** A buffer of one place. */
  const buffer =
    (again: "while" | "if", wake: "notify" | "notifyAll" = "notify"): Body =>
    (x) => {
      const mutex = new Mutex("buffer.lock");
      const filled = new ConditionVariable("filled");
      const items = x.shared("items", 0);
      const consumer = async (task: Parameters<Mutex["lock"]>[0]): Promise<void> => {
        await mutex.lock(task);
        if (again === "while") while (items.current === 0) await filled.wait(task, mutex);
        else if (items.current === 0) await filled.wait(task, mutex);
        items.current--;
        mutex.unlock(task);
      };
      x.task("consumer", consumer);
      x.task("late consumer", consumer);
      x.task("producer", async (task) => {
        for (let i = 0; i < 2; i++) {
          await mutex.lock(task);
          items.current++;
          filled[wake]();
          mutex.unlock(task);
        }
      });
      x.invariant(() => expect(items.current).toBeGreaterThanOrEqual(0));
    };

  it("with a loop around the wait, every item is taken once", async () => {
    expect(await verdict(buffer("while"))).toMatchObject({ verdict: "proved" });
  });

  it("without a loop, takes what another one has taken meanwhile", async () => {
    expect(kinds(await verdict(buffer("if", "notifyAll")))).toEqual(["assertion"]);
  });

  it("loses a wake-up that comes before the wait, if nobody looks first", async () => {
    const report = await verdict((x) => {
      const mutex = new Mutex("m");
      const ready = new ConditionVariable("ready");
      x.task("waiter", async (task) => {
        await mutex.lock(task);
        await ready.wait(task, mutex);
        mutex.unlock(task);
      });
      x.task("notifier", async (task) => {
        await mutex.lock(task);
        ready.notify();
        mutex.unlock(task);
      });
    });
    expect(report.failures.map(({ kind, message }) => [kind, message])).toEqual([
      ["lost-wakeup", "waiter waits for ready"],
    ]);
  });

  it("an aborted waiter has the mutex whenever it goes on", async () => {
    const report = await verdict((x) => {
      const mutex = new Mutex("m");
      const ready = new ConditionVariable("ready");
      const waiter = x.task("waiter", async (task) => {
        await mutex.lock(task);
        try {
          await ready.wait(task, mutex);
        } finally {
          expect(mutex.owner).toBe(task);
          mutex.unlock(task);
        }
      });
      x.task("other", async (task) => {
        await mutex.lock(task);
        await x.step();
        mutex.unlock(task);
      });
      x.task("aborter", async () => {
        await x.step();
        waiter.abort();
      });
    });
    // Aborted before it has the mutex, the lock itself may fail: that is no failure either.
    expect(report).toMatchObject({ verdict: "proved" });
  });

  it("finds the notify that is meant for another kind of waiter", async () => {
    const bounded =
      (wake: "notify" | "notifyAll"): Body =>
      (x) => {
        const mutex = new Mutex("m");
        const changed = new ConditionVariable("changed");
        const items = x.shared("items", 0);
        const work = (can: () => boolean, by: number) => async (task: Parameters<Mutex["lock"]>[0]) => {
          await mutex.lock(task);
          while (!can()) await changed.wait(task, mutex);
          items.current += by;
          changed[wake]();
          mutex.unlock(task);
        };
        const take = work(() => items.current > 0, -1);
        const put = work(() => items.current < 1, 1);
        x.task("t1", take);
        x.task("t2", take);
        x.task("p1", put);
        x.task("p2", put);
      };
    const options = { plainFields, maxExecutions: 20_000 } as const;
    expect(kinds(await explore(bounded("notify"), options))).toEqual(["lost-wakeup"]);
    expect(await explore(bounded("notifyAll"), options)).toMatchObject({ verdict: "proved" });
  });
});

describe("Barrier", () => {
  it("nobody is in the second phase while somebody is in the first, and one of each round is the last", async () => {
    const report = await verdict((x) => {
      const barrier = new Barrier(2, "phase");
      const phases = [x.shared("a.phase", 0), x.shared("b.phase", 0)];
      const leaders = x.shared("leaders", 0);
      for (const [name, phase] of [
        ["a", phases[0]!],
        ["b", phases[1]!],
      ] as const)
        x.task(name, async (task) => {
          for (let round = 1; round <= 2; round++) {
            phase.current = round;
            if (await barrier.wait(task)) leaders.current++;
            for (const each of phases) expect(each.current).toBeGreaterThanOrEqual(round);
          }
        });
      x.finally(() => expect(leaders.current).toBe(2));
    });
    expect(report).toMatchObject({ verdict: "proved" });
  });

  it("finds the party that gives up: the others wait for ever", async () => {
    const report = await verdict((x) => {
      const barrier = new Barrier(2, "phase");
      const a = x.task("a", async (task) => {
        await barrier.wait(task);
      });
      x.task("b", async (task) => {
        await barrier.wait(task);
      });
      x.task("aborter", async () => {
        await x.step();
        a.abort();
      });
    });
    expect(report.failures.map(({ kind, message }) => [kind, message])).toEqual([
      ["lost-wakeup", "b waits for phase"],
    ]);
  });
});

describe("Latch", () => {
  const parts =
    (counts: number): Body =>
    (x) => {
      const done = new Latch(2, "done");
      const ready = x.shared("ready", 0);
      for (let i = 0; i < counts; i++)
        x.task(`part${i}`, async () => {
          await x.step();
          ready.current++;
          done.countDown();
        });
      x.task("waiter", async (task) => {
        await done.wait(task);
        expect(ready.current).toBe(2);
      });
    };

  it("whoever waits sees all that was counted", async () => {
    expect(await verdict(parts(2))).toMatchObject({ verdict: "proved" });
  });

  it("finds the part that does not count, and the one too many", async () => {
    expect(kinds(await verdict(parts(1)))).toEqual(["lost-wakeup"]);
    expect(kinds(await verdict(parts(3)))).toEqual(["assertion"]);
  });
});

describe("Channel", () => {
  const consumers =
    (closing: "after the last" | "too early", capacity: number): Body =>
    (x) => {
      const jobs = new Channel<number>(capacity, "jobs");
      const done = x.shared<number>("done", 0);
      for (const name of ["c1", "c2"])
        x.task(name, async (task) => {
          for await (const job of jobs.values(task)) done.current += job;
        });
      if (closing === "too early")
        x.task("closer", async () => {
          await x.step();
          jobs.close();
        });
      x.task("producer", async (task) => {
        await jobs.send(task, 1);
        await jobs.send(task, 2);
        if (closing === "after the last") jobs.close();
      });
      x.finally(() => expect(done.current).toBe(3));
    };

  it.each([0, 1, 2])("of capacity %d: two consumers get everything once, and both end", async (capacity) => {
    expect(await verdict(consumers("after the last", capacity))).toMatchObject({ verdict: "proved" });
  });

  it("finds the close that comes before the last value", async () => {
    const report = await explore(consumers("too early", 1), { plainFields, keepGoing: true });
    expect(report.failures.map(({ message }) => message)).toContain("producer: jobs is closed");
  });

  it("finds two consumers of whom one waits for ever, since nobody closes", async () => {
    const report = await verdict((x) => {
      const jobs = new Channel<number>(1, "jobs");
      for (const name of ["c1", "c2"])
        x.task(name, async (task) => {
          await jobs.receive(task);
        });
      x.task("producer", async (task) => jobs.send(task, 1));
    });
    expect(report.failures.map(({ kind, message }) => [kind, message]).sort()).toEqual([
      ["lost-wakeup", "c1 waits for jobs"],
      ["lost-wakeup", "c2 waits for jobs"],
    ]);
  });

  it("finds two tasks that send to each other before they receive", async () => {
    const cross =
      (capacity: number): Body =>
      (x) => {
        const [there, back] = [new Channel<number>(capacity, "there"), new Channel<number>(capacity, "back")];
        x.task("a", async (task) => {
          await there.send(task, 1);
          await back.receive(task);
        });
        x.task("b", async (task) => {
          await back.send(task, 1);
          await there.receive(task);
        });
      };
    expect(kinds(await verdict(cross(0)))).toEqual(["lost-wakeup"]);
    expect(await verdict(cross(1))).toMatchObject({ verdict: "proved" });
  });

  it("loses no value when its receiver is aborted", async () => {
    const report = await verdict((x) => {
      const channel = new Channel<number>(0, "ch");
      const got = x.shared("got", 0);
      const receiver = x.task("receiver", async (task) => {
        await channel.receive(task);
        got.current++;
      });
      x.task("sender", async () => {
        await x.step();
        if (channel.trySend(1)) got.current += 10;
      });
      x.task("aborter", async () => {
        await x.step();
        receiver.abort();
      });
      x.finally(() => expect([0, 11]).toContain(got.current));
    });
    expect(report).toMatchObject({ verdict: "proved" });
  });
});

describe("Once", () => {
  it("runs once, and everybody gets what it gives", async () => {
    const report = await verdict((x) => {
      let runs = 0;
      const once = new Once(async () => {
        runs++;
        await x.step("work");
        return 42;
      }, "once");
      for (const name of ["a", "b"])
        x.task(name, async (task) => {
          expect(await once.get(task)).toBe(42);
        });
      x.finally(() => expect(runs).toBe(1));
    });
    expect(report).toMatchObject({ verdict: "proved" });
  });

  it("after a failure, the next call runs it again: who waited has the failure, who comes later a value", async () => {
    const report = await verdict((x) => {
      let runs = 0;
      const failed = x.shared("failed", 0);
      const once = new Once(async () => {
        const run = ++runs;
        await x.step("work");
        if (run === 1) throw new Error("first");
        return run;
      }, "once");
      for (const name of ["a", "b"])
        x.task(name, async (task) => {
          try {
            await once.get(task);
          } catch {
            failed.current++;
          }
        });
      x.finally(() => expect([runs, failed.current]).toEqual(failed.current === 1 ? [2, 1] : [1, 2]));
    });
    expect(report).toMatchObject({ verdict: "proved" });
  });

  it("finds the initialisation that takes a lock which its caller holds elsewhere", async () => {
    const body: Body = (x) => {
      const mutex = new Mutex("m");
      const once = new Once(async (task) => {
        using _ = await mutex.acquire(task);
        return 1;
      }, "once");
      x.task("plain", async (task) => {
        await once.get(task);
      });
      x.task("locked", async (task) => {
        await mutex.lock(task);
        await once.get(task);
        mutex.unlock(task);
      });
    };
    expect((await verdict(body, { lockdep: false })).failures.map(({ kind }) => kind)).toContain("deadlock");
    expect(kinds(await explore(body, { plainFields, keepGoing: true }))).toContain("lockdep");
  });
});

describe("a time limit, on the virtual clock", () => {
  const limited =
    (hold: number, limit: number): Body =>
    (x) => {
      const mutex = new Mutex("m");
      // Between an arrival and what follows, any time may pass: so the holder takes the mutex and sets its timer at once.
      x.task("holder", async (task) => {
        if (!mutex.tryLock(task)) return;
        await x.sleep(hold);
        mutex.unlock(task);
      });
      x.task("waiter", async (task) => {
        try {
          await mutex.lock(task, { timeoutMs: limit });
          mutex.unlock(task);
        } catch (error) {
          expect(error).toBeInstanceOf(LockTimeout);
          throw new Error("too slow", { cause: error });
        }
      });
    };

  it("is not met while the lock is held for less; is where it may be held for longer", async () => {
    expect(await verdict(limited(10, 20))).toMatchObject({ verdict: "proved" });
    expect((await verdict(limited(20, 10))).failures.map(({ message }) => message)).toEqual([
      "waiter: too slow",
    ]);
  });
});
