import { EventEmitter, once } from "node:events";
import * as promises from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { explore, formatReport, replay, type Body, type Exploration } from "@vfiokit/explore";
import { Mutex } from "@vfiokit/lockdep";

const strategies = ["exhaustive", "all"] as const;

/** What tasks note, in any order. */
async function outcomesOf(
  body: (x: Exploration, note: (text: unknown) => void) => void,
  strategy: (typeof strategies)[number],
): Promise<{ readonly outcomes: string[]; readonly verdict: string }> {
  const outcomes = new Set<string>();
  const report = await explore(
    (x) => {
      const notes: unknown[] = [];
      body(x, (text) => void notes.push(text));
      x.finally(() => void outcomes.add(notes.join(" ")));
    },
    { strategy, keepGoing: true },
  );
  expect(report.failures).toEqual([]);
  return { outcomes: [...outcomes].sort(), verdict: report.verdict };
}

describe.each(strategies)("a wait that a signal ends (%s):", (strategy) => {
  const waits: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    "setTimeout of node:timers/promises": (signal) => promises.setTimeout(1000, undefined, { signal }),
    "setImmediate of node:timers/promises": (signal) => promises.setImmediate(undefined, { signal }),
    "scheduler.wait": (signal) => promises.scheduler.wait(1000, { signal }),
    "setInterval of node:timers/promises": (signal) =>
      promises.setInterval(1000, undefined, { signal })[Symbol.asyncIterator]().next(),
  };
  /** What comes of a wait that another task aborts: "over", or the error's name. */
  const abortedWait = (wait: (signal: AbortSignal) => Promise<unknown>) =>
    outcomesOf((x, note) => {
      const controller = new AbortController();
      x.task("waits", async () => {
        try {
          await wait(controller.signal);
          note("over");
        } catch (error) {
          note((error as Error).name);
        }
      });
      x.task("aborts", async () => {
        await x.step();
        controller.abort();
      });
    }, strategy);

  it.each(Object.entries(waits))("%s is over by itself, or ends with an AbortError", async (name, wait) => {
    const { outcomes, verdict } = await abortedWait(wait);
    expect(outcomes).toEqual(["AbortError", "over"]);
    expect(verdict).toBe(name.startsWith("setInterval") ? "unknown" : "proved");
  });

  it("events.once with a signal", async () => {
    const { outcomes } = await abortedWait((signal) => once(new EventEmitter(), "ready", { signal }));
    expect(outcomes).toEqual(["AbortError"]);
  });

  it("AbortSignal.timeout runs by the virtual clock", async () => {
    const { outcomes, verdict } = await outcomesOf((x, note) => {
      x.task("waits", async () => {
        const signal = AbortSignal.timeout(1000);
        const begun = Date.now();
        try {
          await promises.setTimeout(5000, undefined, { signal });
        } catch {
          note(`${(signal.reason as Error).name} after ${Date.now() - begun}`);
        }
      });
    }, strategy);
    expect(outcomes).toEqual(["TimeoutError after 1000"]);
    expect(verdict).toBe("proved");
  });
});

describe("what nobody catches is a failure, and the explorer goes on:", () => {
  const boom = (): never => {
    throw new Error("boom");
  };
  const throwers: Record<string, () => void> = {
    "a throw in queueMicrotask": () => queueMicrotask(boom),
    "a throw in process.nextTick": () => process.nextTick(boom),
    "a throw in an abort listener": () => {
      const controller = new AbortController();
      controller.signal.addEventListener("abort", boom);
      controller.abort();
    },
  };
  it.each(Object.entries(throwers))("%s", async (_, run) => {
    const body: Body = (x) => {
      let ready = false;
      x.task("a", async () => {
        await x.step();
        if (ready) run();
      });
      x.task("b", async () => {
        await x.step();
        ready = true;
      });
    };
    const before = process.listeners("uncaughtException");
    for (const strategy of strategies) {
      const report = await explore(body, { strategy });
      expect(report.failures[0]).toMatchObject({ kind: "uncaught-exception", message: "boom" });
      const again = await replay(body, report.failures[0]!.schedule);
      expect(again.failures[0]).toMatchObject({ kind: "uncaught-exception", message: "boom" });
    }
    expect(process.listeners("uncaughtException")).toEqual(before);
  });

  it("a throw that a final check has queued", async () => {
    const report = await explore((x) => x.finally(() => queueMicrotask(boom)));
    expect(report.failures[0]).toMatchObject({ kind: "uncaught-exception" });
  });
});

describe.each(strategies)("timers are Node's (%s):", (strategy) => {
  const pairs: Record<string, (note: (text: string) => void) => void> = {
    "two timers of a task and delay": (note) => {
      setTimeout(() => note("first"), 5);
      setTimeout(() => note("second"), 5);
    },
    "two immediates of a task": (note) => {
      setImmediate(() => note("first"));
      setImmediate(() => note("second"));
    },
    "a timer behind one that was stopped": (note) => {
      setTimeout(() => note("first"), 5);
      const stopped = setTimeout(() => note("never"), 5);
      setTimeout(() => note("second"), 5);
      clearTimeout(stopped);
    },
  };
  it.each(Object.entries(pairs))("%s fire in order", async (_, set) => {
    const { outcomes, verdict } = await outcomesOf((x, note) => {
      x.task("sets", async () => {
        await x.step();
        set(note);
      });
    }, strategy);
    expect(outcomes).toEqual(["first second"]);
    expect(verdict).toBe("proved");
  });

  it("those of different delays and tasks still meet in any order", async () => {
    const { outcomes } = await outcomesOf((x, note) => {
      for (const name of ["a", "b"])
        x.task(name, async () => {
          await x.step();
          setTimeout(() => note(name), 5);
        });
    }, strategy);
    expect(outcomes).toEqual(["a b", "b a"]);
  });

  it("clearTimeout takes a number; unref shows; a delay that is too long is none; Intl and Date agree", async () => {
    const { outcomes } = await outcomesOf((x, note) => {
      x.task("sets", async () => {
        const stopped = setTimeout(() => note("never"), 5);
        clearTimeout(Number(stopped));
        const timer = setTimeout(() => note(`at ${Date.now() - begun}`), 2 ** 40);
        const begun = Date.now();
        note(timer.unref().hasRef());
        const year = new Intl.DateTimeFormat("en", { year: "numeric", timeZone: "UTC" });
        note(year.format() === String(new Date().getUTCFullYear()));
        note(year.formatToParts()[0]!.value === String(new Date().getUTCFullYear()));
        await x.step();
      });
    }, strategy);
    expect(outcomes).toEqual(["false true true at 1"]);
  });

  it("a loop that waits for the clock ends, and makes no proof", async () => {
    for (const pause of [undefined, () => Promise.resolve()]) {
      const report = await explore(
        (x) => {
          x.task("spins", async () => {
            const end = Date.now() + 20;
            while (Date.now() < end) if (pause) await pause();
            await x.step();
          });
        },
        { strategy },
      );
      expect(formatReport(report)).toMatch(/^UNKNOWN: spins spins on the clock: use x\.sleep\(\)/);
    }
  });
});

describe("a final check", () => {
  it("may step, sleep and set timers: it runs alone", async () => {
    const ends = new Set<string>();
    const report = await explore((x) => {
      const cell = x.shared("cell", 0);
      for (const name of ["a", "b"]) x.task(name, () => cell.set(1));
      x.finally(async () => {
        const begun = x.clock.now();
        await x.step();
        await x.sleep(10);
        await new Promise((resolve) => setTimeout(resolve, 20));
        ends.add(`${await cell.get()} after ${x.clock.now() - begun}`);
      });
    });
    expect(report.verdict).toBe("proved");
    expect([...ends]).toEqual(["1 after 30"]);
  });

  const never = (): Promise<void> => new Promise(() => undefined);
  const endless: Record<string, Body> = {
    "x.finally": (x) => x.finally(never),
    "the body": never,
  };
  // eslint-disable-next-line @typescript-eslint/unbound-method -- only compared
  const promises = { then: Promise.prototype.then, constructor: Promise.prototype.constructor };
  it.each(Object.entries(endless))(
    "%s that never ends is reported",
    { timeout: 60_000 },
    async (what, body) => {
      const report = await explore(body);
      expect(report.failures).toEqual([
        expect.objectContaining({
          kind: "lost-wakeup",
          message: `${what} does not end: it waits for what nobody has done in 5 s`,
        }),
      ]);
      // eslint-disable-next-line @typescript-eslint/unbound-method -- only compared
      expect({ then: Promise.prototype.then, constructor: Promise.prototype.constructor }).toEqual(promises);
    },
  );
});

it("a cycle of lock orders under an outer mutex says that it is a rule, and what asks for deadlocks only", async () => {
  const body: Body = (x) => {
    const [outer, a, b] = [new Mutex("outer"), new Mutex("a"), new Mutex("b")];
    for (const [name, first, second] of [
      ["ann", a, b],
      ["bob", b, a],
    ] as const)
      x.task(name, async (task) => {
        using _outer = await outer.acquire(task);
        using _first = await first.acquire(task);
        using _second = await second.acquire(task);
      });
  };
  for (const strategy of strategies) {
    const report = await explore(body, { strategy });
    expect(report.failures[0]!.message).toMatch(
      /\(a rule of lockdep's; with lockdep: false, only what really/,
    );
    expect((await explore(body, { strategy, lockdep: false })).verdict).toBe("proved");
  }
});
