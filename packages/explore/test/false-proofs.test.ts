import { describe, expect, it } from "vitest";
import {
  exitCodeOf,
  explore,
  formatReport,
  replay,
  type Body,
  type Exploration,
  type ExploreOptions,
} from "@vfiokit/explore";
import { Mutex, RwSemaphore, type Task } from "@vfiokit/lockdep";

/** Not the one that tasks get. */
const realTimeout = setTimeout;

/** A writer lets readers go on, by `letGo`, and another task tries to write before they do. */
function meetsWokenReaders(readers: readonly string[], letGo: (rw: RwSemaphore, task: Task) => void): Body {
  return (x) => {
    const rw = new RwSemaphore("rw");
    const run = x.shared("run", 0);
    const out = x.shared("out", 0);
    x.task("writer", async (task) => {
      await rw.downWrite(task);
      await x.step();
      letGo(rw, task);
      out.current = 1;
    });
    for (const name of readers)
      x.task(name, async (task) => {
        await rw.downRead(task);
        run.current++;
        rw.upRead(task);
      });
    x.task("C", async (task) => {
      await x.step();
      if (rw.tryDownWrite(task)) rw.upWrite(task);
      else if (out.current === 1 && run.current === 0) throw new Error("busy, though no reader runs");
    });
  };
}

/** Programs that fail in plain Node, and that were once said to be proved, or had an order that was never run. */
const programs: Record<string, { readonly body: Body; readonly message: string }> = {
  "a task that joins while it holds a mutex keeps another from being first": {
    message: "user: user was before writer",
    body: (x) => {
      const m = new Mutex("m");
      const c = x.shared("c", 0);
      const writer = x.task("writer", async () => c.set(2));
      x.task("waiter", async (task) => {
        await m.lock(task);
        await x.join(writer);
        m.unlock(task);
      });
      x.task("user", async (task) => {
        await m.lock(task);
        const seen = c.current;
        m.unlock(task);
        if (seen === 0) throw new Error("user was before writer");
      });
    },
  },
  "a trylock between the unlock that hands a mutex over and the turn of who gets it": {
    message: "C: busy, A is out, B has not begun",
    body: (x) => {
      const m = new Mutex("m");
      const a = x.shared("a", 0);
      const b = x.shared("b", 0);
      x.task("A", async (task) => {
        await m.lock(task);
        await x.step();
        a.current = 1;
        m.unlock(task);
      });
      x.task("B", async (task) => {
        await m.lock(task);
        b.current = 1;
        m.unlock(task);
      });
      x.task("C", async (task) => {
        await x.step();
        if (m.tryLock(task)) m.unlock(task);
        else if (a.current === 1 && b.current === 0) throw new Error("busy, A is out, B has not begun");
      });
    },
  },
  "a look at the owner between hand-over and turn": {
    message: "C: B owns it and has not begun",
    body: (x) => {
      const m = new Mutex("m");
      const b = x.shared("b", 0);
      const second = x.task("B", async (task) => {
        await m.lock(task);
        b.current = 1;
        m.unlock(task);
      });
      x.task("C", async () => {
        await x.step();
        if (m.owner === second.task && b.current === 0) throw new Error("B owns it and has not begun");
      });
    },
  },
  "a trylock that meets readers who were woken and have not run": {
    message: "C: busy, though no reader runs",
    body: meetsWokenReaders(["r1", "r2"], (rw, task) => rw.upWrite(task)),
  },
  "abort and unlock in one piece: a waiter is cancelled before it is handed the lock": {
    message: "the victim was cancelled",
    body: (x) => {
      const m = new Mutex("m");
      let cancelled = false;
      const victim = x.task("victim", async (task) => {
        try {
          await m.lock(task);
          m.unlock(task);
        } catch {
          cancelled = true;
        }
      });
      x.task("holder", async (task) => {
        await m.lock(task);
        await x.step();
        victim.abort();
        m.unlock(task);
      });
      x.finally(() => {
        if (cancelled) throw new Error("the victim was cancelled");
      });
    },
  },
  "a trylock for writing that meets readers whom a downgrade woke and who have not run": {
    message: "C: busy, though no reader runs",
    body: meetsWokenReaders(["reader"], (rw, task) => {
      rw.downgradeWrite(task);
      rw.upRead(task);
    }),
  },
  "an abort between a downgrade and the turn of the reader that it woke comes too late": {
    message: "reader: was aborted before it ran",
    body: (x) => {
      const rw = new RwSemaphore("rw");
      const aborted = x.shared("aborted", false);
      const reader = x.task("reader", async (task) => {
        try {
          await rw.downRead(task);
        } catch {
          return;
        }
        rw.upRead(task);
        if (aborted.current) throw new Error("was aborted before it ran");
      });
      x.task("writer", async (task) => {
        await rw.downWrite(task);
        await x.step();
        rw.downgradeWrite(task);
        aborted.current = true;
        reader.abort();
        rw.upRead(task);
      });
    },
  },
  "a reader whose time is up before the downgrade is not woken by it": {
    message: "the reader gave up",
    body: (x) => {
      const rw = new RwSemaphore("rw");
      let gaveUp = false;
      x.task("reader", async (task) => {
        try {
          await rw.downRead(task, { timeoutMs: 5 });
          rw.upRead(task);
        } catch {
          gaveUp = true;
        }
      });
      x.task("writer", async (task) => {
        await rw.downWrite(task);
        await x.step();
        rw.downgradeWrite(task);
        rw.upRead(task);
      });
      x.finally(() => {
        if (gaveUp) throw new Error("the reader gave up");
      });
    },
  },
  "a deadlock elsewhere does not hide a trylock that is busy": {
    message: "t0 met a busy lock",
    body: (x) => {
      const m = new Mutex("m");
      const rw = new RwSemaphore("rw");
      let busy = false;
      x.task("t0", async (task) => {
        if (!m.tryLock(task)) {
          busy = true;
          return;
        }
        await rw.downWrite(task);
        rw.upWrite(task);
        m.unlock(task);
      });
      x.task("t1", async (task) => {
        if (!rw.tryDownRead(task)) return;
        await m.lock(task);
        await x.step();
        m.unlock(task);
        rw.upRead(task);
      });
      x.finally(() => {
        if (busy) throw new Error("t0 met a busy lock");
      });
    },
  },
};

describe("no false proof:", () => {
  for (const [symptom, { body, message }] of Object.entries(programs))
    for (const plainFields of ["conflict", "none"] as const)
      it(`${symptom} (plain fields: ${plainFields})`, async () => {
        for (const strategy of ["exhaustive", "all"] as const) {
          const options = {
            strategy,
            plainFields,
            keepGoing: symptom.startsWith("a deadlock"),
            lockdep: false,
          };
          const report = await explore(body, options);
          const failure = report.failures.find((each) => each.message === message);
          expect(failure, strategy).toBeDefined();
          const again = await replay(body, failure!.schedule, options);
          expect(again.failures.map((each) => each.message)).toContain(message);
        }
      });
});

describe("plain fields between steps:", () => {
  const refreshToken = (x: Exploration, touches?: readonly string[]): void => {
    let valid = "r0";
    let token = "r0"; // the server takes each refresh token once
    const step = (label: string): Promise<void> => (touches ? x.step(label, { touches }) : x.step(label));
    const post = async (sent: string): Promise<string> => {
      await step("POST /token");
      if (sent !== valid) throw new Error("invalid_grant");
      return (valid = `${sent}+`);
    };
    for (const name of ["a", "b"])
      x.task(name, async () => {
        await step("401");
        token = await post(token);
      });
  };

  it("a token that is refreshed twice", async () => {
    expect((await explore((x) => refreshToken(x))).verdict).toBe("failed");
    expect((await explore((x) => refreshToken(x, ["token"]))).verdict).toBe("failed");
  });

  it("two who make a folder that is not there", async () => {
    const report = await explore((x) => {
      const folders = new Set<string>();
      for (const name of ["copy 1", "copy 2"])
        x.task(name, async () => {
          await x.step("stat");
          if (folders.has("out")) return;
          await x.step("mkdir");
          if (folders.has("out")) throw new Error("EEXIST");
          folders.add("out");
        });
    });
    expect(report.failures[0]!.message).toMatch("EEXIST");
  });

  it("an answer that comes late overwrites a later one", async () => {
    const report = await explore((x) => {
      let [shown, page] = [0, 0];
      x.task("user", async () => {
        for (const wanted of [1, 2]) {
          page = wanted;
          x.task(`fetch ${wanted}`, async () => {
            await x.step("response");
            shown = wanted;
          });
          await x.step("click");
        }
      });
      x.finally(() => {
        if (shown !== page) throw new Error(`on page ${page}, shown ${shown}`);
      });
    });
    expect(report.failures[0]).toMatchObject({ message: "on page 2, shown 1" });
  });

  it("a variable whose accesses are seen, and a plain field beside it", async () => {
    const body =
      (touches?: readonly string[]): Body =>
      (x) => {
        const open = x.shared("open", true);
        let sold = 0; // nobody sees who reads and writes it
        const buy = async (): Promise<void> => {
          await open.get({ ...(touches && { touches }) });
          const before = sold;
          await open.get({ ...(touches && { touches }) });
          sold = before + 1;
        };
        for (const name of ["ann", "bob"]) x.task(name, buy);
        x.finally(() => {
          if (sold !== 2) throw new Error(`${sold} sold to two`);
        });
      };
    for (const strategy of ["exhaustive", "all"] as const)
      for (const touches of [undefined, ["sold"]]) {
        const report = await explore(body(touches), { strategy });
        expect(report.failures[0], strategy).toMatchObject({ message: "1 sold to two" });
        const again = await replay(body(touches), report.failures[0]!.schedule);
        expect(again.failures[0]).toMatchObject({ message: "1 sold to two" });
      }
    // Who says that nothing plain is used gets what was asked for: the reads of one variable commute.
    expect(await explore(body([]))).toMatchObject({ verdict: "proved" });
  });

  it("steps that say that they touch different fields, or none, are taken in one order", async () => {
    const executions = async (step: (x: Exploration, name: string) => Promise<void>): Promise<number> => {
      const report = await explore((x) => {
        for (const name of ["a", "b"]) {
          x.task(name, async () => {
            await x.pure();
            await step(x, name);
          });
        }
      });
      return report.executions;
    };
    const pure = await executions((x) => x.pure());
    const own = await executions((x, name) => x.step({ touches: [name] }));
    const same = await executions((x) => x.step({ touches: ["same"] }));
    expect(own).toBeGreaterThan(pure); // what comes before the first step may use any field
    expect(same).toBeGreaterThan(own);
    expect(await executions((x) => x.step())).toBeGreaterThanOrEqual(same);
  });
});

describe("the verdict", () => {
  it("is unknown, and says where, if a task awaits what is not explored", async () => {
    const report = await explore((x) => {
      x.task("ann", () => new Promise((resolve) => void realTimeout(resolve, 60_000).unref()));
      x.task("bob", () => x.step());
    });
    expect(report).toMatchObject({ verdict: "unknown", failures: [] });
    expect(formatReport(report)).toMatch(
      /^UNKNOWN: ann awaits something that is not explored, after begin; no interleaving of 2 tasks fails that was tried; \d+ executions?\n/,
    );
    expect(exitCodeOf(report.verdict)).toBe(4);
  });

  it("says what it rests on: tasks, executions, promises, what was virtual and what was watched", async () => {
    const body: Body = (x) => void ["a", "b"].map((name) => x.task(name, () => x.step()));
    expect(formatReport(await explore(body))).toMatch(
      /^PROVED: no interleaving of 2 tasks fails; \d+ executions\n/,
    );
    const promised = { plainFields: "none", awaits: "fused" } as const;
    const report = await explore((x) => {
      const account = x.watch({ balance: 0 });
      x.task("a", async () => {
        await x.step();
        account.balance = Math.random() + Date.now();
      });
    }, promised);
    expect(report).toMatchObject({ tasks: 1, virtual: ["random numbers", "time"] });
    expect(formatReport(report).split("\n")[0]).toBe(
      "PROVED: no interleaving of 1 task fails; 3 executions; " +
        "promised: tasks share no plain fields, nothing comes between a task and its own awaits; " +
        "virtual: random numbers, time; watched objects are used through what x.watch returned, and their classes' methods share no variables",
    );
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it("has a word and an exit code of its own for each way to end", async () => {
    const body: Body = (x) => {
      const cell = x.shared("cell", 0);
      for (const name of ["a", "b"]) x.task(name, async () => cell.set((await cell.get()) + 1));
      x.task("file", async () => {
        await cell.get();
      });
    };
    const word = async (options: ExploreOptions, program = body): Promise<string> => {
      const report = await explore(program, options);
      return `${/^[A-Z ]+/.exec(formatReport(report))![0]} ${exitCodeOf(report.verdict)}`;
    };
    expect(await word({ plainFields: "none" })).toBe("PROVED 0");
    expect(await word({ maxPreemptions: 0 })).toBe("LIMITS MET 3");
    expect(await word({ maxDepth: 2 })).toBe("LIMITS MET 3");
    expect(await word({ maxExecutions: 2 })).toBe("NOTHING FOUND 3");
    expect(await word({ strategy: "random", runs: 3 })).toBe("NOTHING FOUND 3");
    const outside: Body = (x) =>
      void x.task("ann", () => new Promise((resolve) => void realTimeout(resolve, 60_000).unref()));
    expect(await word({}, outside)).toBe("UNKNOWN 4");
    const fails: Body = (x) => void x.task("ann", () => Promise.reject(new Error("no")));
    expect(await word({}, fails)).toBe("FAILED 1");
  });
});
