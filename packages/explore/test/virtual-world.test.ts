import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as later } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  explore,
  formatReport,
  NotDeterministic,
  replay,
  type Body,
  type Exploration,
} from "@vfiokit/explore";
import { Mutex } from "@vfiokit/lockdep";

/** Everything that a body notes in any execution. */
async function seen(
  body: (x: Exploration, note: (value: unknown) => void) => void,
): Promise<{ readonly values: string[]; readonly text: string; readonly verdict: string }> {
  const values = new Set<string>();
  const report = await explore((x) => body(x, (value) => void values.add(String(value))), {
    keepGoing: true,
    plainFields: "none",
  });
  expect(report.failures).toEqual([]);
  return { values: [...values], text: formatReport(report), verdict: report.verdict };
}

const draws: Record<string, () => unknown> = {
  "Math.random": () => Math.random(),
  "Date.now": () => Date.now(),
  "new Date()": () => new Date().getTime(),
  "Date()": () => Date(),
  "performance.now": () => performance.now(),
  "process.hrtime": () => process.hrtime().join(),
  "process.hrtime.bigint": () => process.hrtime.bigint(),
  "crypto.randomUUID": () => crypto.randomUUID(),
  "crypto.getRandomValues": () => crypto.getRandomValues(new Uint8Array(8)).join(),
  "randomUUID of node:crypto": () => randomUUID(),
  "randomInt of node:crypto": () => randomInt(1_000_000),
};

describe("a body that is not deterministic by itself:", () => {
  it.each(Object.entries(draws))("%s is the same in every execution", async (_, draw) => {
    const { values, verdict } = await seen((x, note) => {
      note(`set-up ${String(draw())}`);
      const cell = x.shared("cell", 0);
      for (const name of ["a", "b"])
        x.task(name, async () => {
          await cell.set(1);
          note(`${name} ${String(draw())}`);
        });
      x.finally(() => {
        note(`end ${String(draw())}`);
      });
    });
    expect(values).toHaveLength(4);
    expect(verdict).toBe("proved");
  });

  it("a coin that decides what a task does makes no proof that holds for one side only", async () => {
    const body: Body = (x) => {
      const cell = x.shared("cell", 0);
      x.task("a", async () => {
        if (Math.random() < 0.5) await cell.set(1);
        else await x.step();
      });
      x.task("b", () => cell.set(2));
    };
    const report = await explore(body);
    expect(formatReport(report)).toMatch(/^PROVED: .*; virtual: random numbers\n/);
  });

  it("time passes when a timer fires, and for nobody else in the process", async () => {
    const before = Date.now();
    const meanwhile: number[] = [];
    const other = setInterval(() => meanwhile.push(Date.now()), 0);
    const { values } = await seen((x, note) => {
      const begun = Date.now();
      expect(new Date().getTime()).toBe(begun);
      for (const name of ["a", "b", "c"])
        x.task(name, async () => {
          for (let i = 0; i < 3; i++) await x.step();
          await x.sleep(100);
          note(Date.now() - begun);
        });
    });
    clearInterval(other);
    expect(values.toSorted()).toEqual(["100", "200", "300"]); // by when it went to sleep
    expect(meanwhile.length).toBeGreaterThan(0);
    for (const time of meanwhile) expect(time).toBeGreaterThanOrEqual(before);
    expect(new Date(2001, 1).getFullYear()).toBe(2001);
  });

  const timers: Record<string, (milliseconds: number) => Promise<unknown>> = {
    setTimeout: (milliseconds) => new Promise((resolve) => void setTimeout(resolve, milliseconds)),
    "setTimeout of node:timers/promises": (milliseconds) => later(milliseconds),
  };
  it.each(Object.entries(timers))(
    "%s runs by the virtual clock, before other tasks and after",
    async (_, wait) => {
      const begun = Date.now();
      const { values, verdict, text } = await seen((x, note) => {
        const done = x.shared("done", false);
        x.task("worker", () => done.set(true));
        x.task("watchdog", async () => {
          await wait(3_600_000);
          note((await done.get()) ? "in time" : "late");
        });
      });
      expect(values.toSorted()).toEqual(["in time", "late"]);
      expect(verdict).toBe("proved");
      expect(text).toContain("virtual: timers");
      expect(Date.now() - begun).toBeLessThan(3_600_000);
    },
  );

  it("a timer that is stopped does not fire", async () => {
    const { values } = await seen((x, note) => {
      x.task("a", async () => {
        const timer = setTimeout(() => note("fired"), 10);
        await x.step();
        clearTimeout(timer);
        note("stopped");
      });
    });
    expect(values.toSorted()).toEqual(["fired", "stopped"]);
  });

  it("setInterval, of which only the first time is explored, is unknown", async () => {
    const { verdict, text } = await seen((x, note) => {
      x.task("a", async () => {
        const timer = setInterval(() => note("tick"), 10);
        await x.step();
        clearInterval(timer);
      });
    });
    expect(verdict).toBe("unknown");
    expect(text).toContain("setInterval is not explored");
  });

  it("a failure that random numbers lead to replays", async () => {
    const body: Body = (x) => {
      const picked = new Set<number>();
      const lock = new Mutex("lock");
      for (const name of ["a", "b", "c", "d"])
        x.task(name, async (task) => {
          using _ = await lock.acquire(task);
          picked.add(Math.floor(Math.random() * 4));
        });
      x.finally(() => {
        if (picked.size < 4) throw new Error(`picked ${[...picked].join()}`);
      });
    };
    const report = await explore(body);
    expect(report.verdict).toBe("failed");
    for (let i = 0; i < 3; i++)
      expect((await replay(body, report.failures[0]!.schedule)).failures).toEqual(report.failures);
  });

  it("what was replaced is put back", async () => {
    const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
    await turn(); // of the explorations before
    const names = ["Date", "setTimeout", "clearTimeout", "setImmediate"] as const;
    const before = names.map((name) => globalThis[name] as unknown);
    const { random } = Math;
    await seen((x) => void x.task("a", () => x.step()));
    await turn();
    expect(names.map((name) => globalThis[name] as unknown)).toEqual(before);
    expect(Math.random).toBe(random);
    expect(Object.hasOwn(performance, "now")).toBe(false);
  });
});

describe("a body that keeps something from one execution to the next is refused, and where it differs is said:", () => {
  let runs = 0;
  afterEach(() => (runs = 0));
  const refused: Record<string, { readonly body: Body; readonly message: RegExp }> = {
    "another label": {
      body: (x) => {
        const isFirst = runs++ === 0;
        x.task("a", async () => x.step(isFirst ? "cold" : "warm"));
      },
      message: /event 2 was cold of a the first time, and now warm of a/,
    },
    "something else that is touched": {
      body: (x) => {
        const isFirst = runs++ === 0;
        const [left, right] = [x.shared("left", 0), x.shared("right", 0)];
        x.task("a", async () => {
          await x.step();
          (isFirst ? left : right).current = 1;
        });
      },
      message: /event 2, step of a, touches something else each time: left#1 and right#2/,
    },
    "a write that was a read": {
      body: (x) => {
        const isFirst = runs++ === 0;
        const cell = x.shared("cell", 0);
        x.task("a", async () => {
          await x.step();
          if (isFirst) cell.current = cell.current;
          else expect(cell.current).toBe(0);
        });
      },
      message: /event 2, step of a, .*changes what it only looked at/,
    },
    "an event less": {
      body: (x) => {
        const isFirst = runs++ === 0;
        x.task("a", async () => {
          await x.step();
          if (isFirst) await x.step("connects");
        });
      },
      message: /event 3 was connects of a the first time, and now none/,
    },
    "another end": {
      body: (x) => {
        const isFirst = runs++ === 0;
        x.task("a", () => x.step());
        x.finally(() => {
          if (!isFirst) throw new Error("is warm");
        });
      },
      message: /it ended with no failure the first time, and now with is warm/,
    },
    "only after some executions": {
      body: (x) => {
        const isLate = runs++ > 3;
        const cell = x.shared("cell", 0);
        for (const name of ["a", "b", "c"])
          x.task(name, async () => {
            await x.step(isLate ? "late" : "early");
            await cell.set(1);
          });
      },
      message: /was early of a the first time, and now late of a/,
    },
  };
  it.each(Object.entries(refused))("%s", async (_, { body, message }) => {
    for (const strategy of ["exhaustive", "all"] as const) {
      runs = 0;
      const exploration = explore(body, { strategy, plainFields: "none" });
      await expect(exploration, strategy).rejects.toThrow(NotDeterministic);
      await expect(exploration, strategy).rejects.toThrow(message);
    }
  });

  it("what is kept and makes no difference is no matter", async () => {
    const cache = vi.fn();
    const report = await explore((x) => {
      cache();
      x.task("a", () => x.step());
    });
    expect(report).toMatchObject({ verdict: "proved", executions: 1 });
    expect(cache).toHaveBeenCalledTimes(2);
  });
});
