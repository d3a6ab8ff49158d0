import { describe, expect, it } from "vitest";
import { lockdep, Mutex, RwSemaphore, Shared, Task } from "@vfiokit/lockdep";
import {
  explore,
  formatReport,
  minimise,
  NotDeterministic,
  replay,
  type Body,
  type ExploreOptions,
} from "@vfiokit/explore";

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

const takeBoth =
  (first: Mutex, second: Mutex) =>
  async (task: Task): Promise<void> => {
    using _1 = await first.acquire(task);
    using _2 = await second.acquire(task);
  };

const abba: Body = (x) => {
  const [a, b] = [new Mutex("A"), new Mutex("B")];
  x.task("ab", takeBoth(a, b));
  x.task("ba", takeBoth(a, b));
  x.task("mixed", takeBoth(b, a));
};

describe("explore", () => {
  it("finds a lost update, and replays it", async () => {
    const report = await explore(lostUpdate);
    expect(report.verdict).toBe("failed");
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]).toMatchObject({ kind: "assertion" });
    const again = await replay(lostUpdate, report.failures[0]!.schedule);
    expect(again.failures).toEqual(report.failures);
  });

  it("proves that a mutex mends it", async () => {
    const report = await explore(
      (x) => {
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
      },
      { plainFields: "none" },
    );
    expect(report).toMatchObject({ verdict: "proved", exhausted: true, failures: [] });
    // Three tasks, one critical section: their orders, and no more.
    expect(report.executions - report.pruned).toBe(6);
  });

  it("lets readers of one lock commute", async () => {
    const report = await explore(
      (x) => {
        const lock = new RwSemaphore("map");
        for (const name of ["r1", "r2", "r3"]) {
          x.task(name, async (task) => {
            using _ = await lock.read(task);
            await x.step();
          });
        }
      },
      { plainFields: "none" },
    );
    expect(report).toMatchObject({ verdict: "proved", executions: 1 });
  });

  it("refuses a program that does something else each time", async () => {
    const { mode } = lockdep;
    let runs = 0;
    const body: Body = (x) => {
      const cell = x.shared("cell", 0);
      runs++;
      for (const name of ["a", "b"])
        x.task(name, async () => {
          if (runs % 2) await x.step();
          await cell.set(1);
        });
      if (runs % 2) x.task("c", () => cell.set(2));
    };
    await expect(explore(body)).rejects.toThrow(NotDeterministic);
    expect(lockdep.mode).toBe(mode);
    // The failed exploration has given back what it used.
    expect((await explore(lostUpdate)).verdict).toBe("failed");
  });

  it("two explorations at once: the second waits for the first, unless it is told to end", async () => {
    const stop = new AbortController();
    const reports = Promise.all([
      explore(lostUpdate),
      explore(lostUpdate, { signal: stop.signal }),
      explore(lostUpdate),
    ]);
    stop.abort();
    expect((await reports).map(({ verdict, executions }) => `${verdict} ${executions > 0}`)).toEqual([
      "failed true",
      "not-found false",
      "failed true",
    ]);
  });
});

describe("what is found", () => {
  it("a deadlock of two locks taken in two orders, named by who holds what", async () => {
    const report = await explore(abba, { lockdep: false });
    expect(report.failures[0]).toMatchObject({ kind: "deadlock" });
    expect(report.failures[0]!.message).toMatch(/waits for B, held by mixed; mixed waits for A, held by/);
  });

  it("the cycle of lock orders behind it, before any deadlock", async () => {
    const report = await explore(abba);
    expect(report).toMatchObject({ executions: 1 });
    expect(report.failures[0]).toMatchObject({
      kind: "lockdep",
      message: expect.stringMatching(/^cycle of lock orders: A -> B -> A \(a rule of lockdep's;/) as string,
    });
    // The validator begins each execution anew, so that the report replays.
    const again = await replay(abba, report.failures[0]!.schedule);
    expect(again.failures).toEqual(report.failures);
  });

  it("a reader that waits for itself behind a writer", async () => {
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
    expect(report.failures[0]!.message).toMatch(/nested waits for map, held by reader, behind writer/);
  });

  it("a wake-up that comes before the wait", async () => {
    const report = await explore((x) => {
      const ready = x.shared("ready", false);
      let wake: (() => void) | undefined;
      x.task("waiter", async () => {
        if (await ready.get()) return;
        await x.step();
        await new Promise<void>((resolve) => (wake = resolve));
      });
      x.task("waker", async () => {
        await ready.set(true);
        wake?.();
      });
    });
    expect(report.failures[0]).toMatchObject({
      kind: "lost-wakeup",
      message: "waiter waits for something that nobody does",
    });
  });

  it("a lock that is never let go", async () => {
    const report = await explore((x) => {
      const lock = new Mutex("lock");
      for (const name of ["forgetful", "next"])
        x.task(name, async (task) => {
          await lock.lock(task);
        });
    });
    expect(report.failures[0]).toMatchObject({ kind: "deadlock" });
  });

  it("a loop that makes no progress", async () => {
    const report = await explore(
      (x) => {
        const flag = x.shared("flag", false);
        x.task("spinner", async () => {
          while (!(await flag.get())) await x.step();
        });
      },
      { maxEvents: 100 },
    );
    expect(report.failures[0]).toMatchObject({ kind: "livelock" });
  });

  it("a rejection that nobody handles, and nobody else hears of it", async () => {
    const report = await explore((x) => {
      x.task("careless", async () => {
        await x.step();
        void Promise.reject(new Error("lost"));
      });
    });
    expect(report.failures[0]).toMatchObject({ kind: "unhandled-rejection", message: "lost" });
  });

  it("an invariant that is broken between two events that commute", async () => {
    const report = await explore(
      (x) => {
        const [a, b] = [x.shared("a", 0), x.shared("b", 0)];
        x.task("a", () => a.set(1));
        x.task("b", () => b.set(1));
        x.invariant(() => expect(b.current).toBeLessThanOrEqual(a.current));
      },
      { plainFields: "none" },
    );
    expect(report.failures[0]).toMatchObject({ kind: "assertion" });
    expect(report.executions).toBe(2);
  });

  it("an invariant of plain shared fields, as real code has them", async () => {
    const report = await explore((x) => {
      const lock = new RwSemaphore("lock");
      const inside = new Shared("inside", 0);
      for (const name of ["r1", "r2"])
        x.task(name, async (task) => {
          using _ = await lock.read(task);
          inside.value++;
          await task.preempt();
          inside.value--;
        });
      x.invariant(() => expect(inside.value).toBeLessThan(2));
    });
    expect(report.failures[0]).toMatchObject({ kind: "assertion" });
  });

  it("all failures of an execution, when it is to go on", async () => {
    const body: Body = (x) => {
      for (const name of ["a", "b"])
        x.task(name, async () => {
          await x.step();
          throw new Error("broken");
        });
    };
    expect((await explore(body)).failures.map(({ message }) => message)).toEqual(["a: broken"]);
    expect((await explore(body, { keepGoing: true })).failures.map(({ message }) => message)).toEqual([
      "a: broken",
      "b: broken",
    ]);
  });
});

describe("what tasks do", () => {
  /** Every outcome, as the tasks note it. */
  async function outcomes(
    body: (x: Parameters<Body>[0], note: (text: string) => void) => void,
  ): Promise<string[]> {
    const seen = new Set<string>();
    const report = await explore(
      (x) => {
        const notes: string[] = [];
        body(x, (text) => void notes.push(text));
        x.finally(() => void seen.add(notes.join(" ")));
      },
      { keepGoing: true, lockdep: false },
    );
    expect(report).toMatchObject({ exhausted: true, failures: [] });
    return [...seen].sort();
  }

  it("a trylock succeeds and fails", async () => {
    expect(
      await outcomes((x, note) => {
        const lock = new Mutex("lock");
        x.task("holder", async (task) => {
          using _ = await lock.acquire(task);
          await x.step();
        });
        x.task("trier", async (task) => {
          await task.preempt();
          note(lock.tryLock(task) ? "free" : "busy");
          if (lock.isHeldBy(task)) lock.unlock(task);
        });
      }),
    ).toEqual(["busy", "free"]);
  });

  it("a mutex let go goes to who queues for it, before its last holder can try it again", async () => {
    expect(
      await outcomes((x, note) => {
        const lock = new Mutex("lock");
        x.task("again", async (task) => {
          await lock.lock(task);
          await x.step();
          lock.unlock(task);
          note(lock.tryLock(task) ? "free" : "busy");
          if (lock.isHeldBy(task)) lock.unlock(task);
        });
        x.task("next", async (task) => {
          using _ = await lock.acquire(task);
        });
      }),
    ).toEqual(["busy", "free"]);
  });

  it.each(["mutex", "rwsem"] as const)(
    "a wait for a %s is cancelled, before, during and after",
    async (kind) => {
      expect(
        await outcomes((x, note) => {
          const mutex = new Mutex("lock");
          const rwsem = new RwSemaphore("lock");
          const acquire = (task: Task, signal?: AbortSignal) =>
            kind === "mutex"
              ? mutex.acquire(task, { ...(signal && { signal }) })
              : rwsem.write(task, { ...(signal && { signal }) });
          const controller = new AbortController();
          x.task("holder", async (task) => {
            using _ = await acquire(task);
            await x.step();
          });
          x.task("waiter", async (task) => {
            try {
              using _ = await acquire(task, controller.signal);
              note("taken");
            } catch (error) {
              note(String(error));
            }
          });
          x.task("canceller", async () => {
            await x.step();
            controller.abort("cancelled");
          });
        }),
      ).toEqual(["cancelled", "taken"]);
    },
  );

  it("a task that is cancelled has not failed", async () => {
    await outcomes((x) => {
      const lock = new Mutex("lock");
      x.task("holder", async (task) => {
        using _ = await lock.acquire(task);
        await x.step();
      });
      const waiter = x.task("waiter", async (task) => {
        using _ = await lock.acquire(task);
      });
      x.task("canceller", async () => {
        await x.step();
        waiter.abort();
      });
    });
  });

  it("a time-out comes before what it limits, or after", async () => {
    expect(
      await outcomes((x, note) => {
        const done = x.shared("done", false);
        x.task("worker", () => done.set(true));
        x.task("watch", async () => {
          await x.sleep(10);
          note((await done.get()) ? `in time at ${x.clock.now()}` : "late");
        });
      }),
    ).toEqual(["in time at 10", "late"]);
  });

  it("timers fire in the order in which they are due, and not when they are stopped", async () => {
    expect(
      await outcomes((x, note) => {
        x.task("main", async () => {
          x.clock.setTimeout(() => note("20"), 20);
          const ten = x.clock.setTimeout(() => note("10"), 10);
          x.clock.setTimeout(() => note("5"), 5);
          await x.step();
          x.clock.clearTimeout(ten);
        });
      }),
    ).toEqual(["5 10 20", "5 20"]);
  });

  it("a task makes tasks, and waits for them to end", async () => {
    expect(
      await outcomes((x, note) => {
        x.task("parent", async () => {
          const child = x.task("child", async () => {
            await x.step();
            note("child");
          });
          await x.step();
          await x.join(child);
          note("parent");
        });
      }),
    ).toEqual(["child parent"]);
  });

  it("a task awaits the promise of another, and each keeps its own place", async () => {
    expect(
      await outcomes((x, note) => {
        const cell = x.shared("cell", "");
        let resolve!: () => void;
        const promise = new Promise<void>((done) => (resolve = done));
        x.task("waits", async () => {
          await promise;
          await cell.set(`${await cell.get()}w`);
          note(cell.current);
        });
        x.task("resolves", async () => {
          resolve();
          await Promise.resolve();
          await cell.set(`${await cell.get()}r`);
          note(cell.current);
        });
      }),
    ).toEqual(["r rw", "r w", "w r", "w wr"]);
  });

  it("code that makes tasks for itself takes locks in their names", async () => {
    expect(
      await outcomes((x, note) => {
        const lock = new Mutex("lock");
        for (const name of ["a", "b"])
          x.task(name, async () => {
            using own = new Task(`${name}'s own`);
            using _ = await lock.acquire(own);
            note(name);
          });
      }),
    ).toEqual(["a b", "b a"]);
  });
});

describe("how it is explored", () => {
  const many: Body = (x) => {
    const cells = [x.shared("a", 0), x.shared("b", 0)];
    for (const name of ["t1", "t2", "t3"])
      x.task(name, async () => {
        for (const cell of cells) await cell.set((await cell.get()) + 1);
      });
  };

  it.each([
    { strategy: "exhaustive" },
    { strategy: "random", seed: 5, runs: 50 },
    { strategy: "pct", seed: 5, runs: 50, depth: 2 },
  ] as const)("the same executions each time: $strategy", async (options: ExploreOptions) => {
    const run = async (): Promise<unknown> => {
      const outcomes: string[] = [];
      const report = await explore(
        (x) => {
          const log: string[] = [];
          const cell = x.shared("cell", 0);
          for (const name of ["a", "b", "c"])
            x.task(name, async () => {
              await cell.set((await cell.get()) + 1);
              log.push(name);
            });
          x.finally(() => void outcomes.push(`${log.join("")}${cell.current}`));
        },
        { ...options, plainFields: "none" },
      );
      return [outcomes, { ...report, time: 0 }];
    };
    expect(await run()).toEqual(await run());
  });

  it("another seed, other executions", async () => {
    const found = new Set<number>();
    for (let seed = 1; seed <= 6; seed++)
      found.add((await explore(lostUpdate, { strategy: "random", seed })).executions);
    expect(found.size).toBeGreaterThan(1);
  });

  it("within a bound on preemptions, and says so", async () => {
    const report = await explore(many, { maxPreemptions: 1 });
    expect(report).toMatchObject({
      verdict: "proved-within-bounds",
      exhausted: false,
      bounds: { maxPreemptions: 1 },
    });
    expect(formatReport(report)).toContain(
      "LIMITS MET: no interleaving of 3 tasks fails that has at most 1 preemption; ",
    );
    // Two switches at the end of a task, and one preemption: no bug that needs it is missed.
    expect((await explore(lostUpdate, { maxPreemptions: 1 })).verdict).toBe("failed");
    expect((await explore(lostUpdate, { maxPreemptions: 0 })).verdict).toBe("proved-within-bounds");
    // A bound that leaves nothing out is a proof.
    const twoSteps: Body = (x) => void ["a", "b"].map((name) => x.task(name, async () => x.step()));
    expect((await explore(twoSteps, { maxPreemptions: 5 })).verdict).toBe("proved");
  });

  it("within a bound on depth", async () => {
    expect(await explore(many, { maxDepth: 6 })).toMatchObject({
      verdict: "proved-within-bounds",
      bounds: { maxDepth: 6 },
      maxDepth: 6,
    });
  });

  it("no further than it is told to", async () => {
    expect(await explore(many, { maxExecutions: 10 })).toMatchObject({
      verdict: "not-found",
      executions: 10,
      exhausted: false,
    });
  });

  it("until it is cancelled, telling how far it is", async () => {
    const controller = new AbortController();
    const report = await explore(many, {
      strategy: "all",
      signal: controller.signal,
      onProgress: ({ executions, events, failures }) => {
        expect([executions % 256, events > executions, failures]).toEqual([0, true, 0]);
        if (executions === 512) controller.abort();
      },
    });
    expect(report).toMatchObject({ verdict: "not-found", executions: 512 });
  });

  it("a report goes through JSON unharmed", async () => {
    const report = await explore(lostUpdate);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });
});

describe("a counterexample", () => {
  it("is read in columns, a line for each event", async () => {
    const report = await explore(lostUpdate);
    const small = await minimise(lostUpdate, report.failures[0]!);
    const text = formatReport({
      ...report,
      executions: 3,
      pruned: 0,
      events: 18,
      time: 1,
      failures: [small],
    });
    expect(text.replace(/assertion: .*/, "assertion: …").replace(/\n\n(- |\+ |Exp|Rec).*/g, ""))
      .toMatchInlineSnapshot(`
      "FAILED: 1 failure
      3 executions (0 cut short), 18 events, at most 6 in one, 1.0 ms

      assertion: …
           ann             bob
        1  begin
        2  get(balance#1)
        3                  begin
        4                  get(balance#1)
        5                  set(balance#1)
        6  set(balance#1)
      schedule: 0*2 1*3 0"
    `);
  });

  it("has as few switches as there can be", async () => {
    const report = await explore(lostUpdate, { strategy: "random", seed: 7 });
    const small = await minimise(lostUpdate, report.failures[0]!);
    expect(small.schedule.split(" ").length).toBeLessThanOrEqual(3);
    expect((await replay(lostUpdate, small.schedule)).failures[0]!.kind).toBe("assertion");
  });

  it("of a deadlock among bystanders needs one preemption", async () => {
    const body: Body = (x) => {
      const [a, b] = [new Mutex("A"), new Mutex("B")];
      const other = x.shared("other", 0);
      x.task("ab", takeBoth(a, b));
      x.task("ba", takeBoth(b, a));
      for (const name of ["c", "d"]) x.task(name, async () => other.set((await other.get()) + 1));
    };
    const report = await explore(body, { strategy: "random", seed: 3, lockdep: false });
    const small = await minimise(body, report.failures[0]!, { lockdep: false });
    expect(small.kind).toBe("deadlock");
    expect(small.schedule.split(" ")).toHaveLength(4);
  });
});
