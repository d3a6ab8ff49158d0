import { AsyncResource } from "node:async_hooks";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { explore, exitCodeOf, formatReport, replay, type Body, type Exploration } from "@vfiokit/explore";

const tick = (): Promise<void> => Promise.resolve();

function check(message: string, holds: boolean): void {
  if (!holds) throw new Error(message);
}

/** Programs that fail in plain Node, and that were once said to be proved. */
const programs: Record<string, Body> = {
  "a constructor that goes on after the set-up loses an update": (x) => {
    class Service {
      users = 0;
      readonly ready = this.init();
      async init(): Promise<void> {
        await tick();
        const users = this.users;
        await tick();
        this.users = users + 1;
      }
      async add(): Promise<void> {
        const { users } = this;
        await tick();
        this.users = users + 1;
      }
    }
    const service = new Service();
    x.task("a", () => service.add());
    x.finally(() => check("lost", service.users === 2));
  },
  "a worker's loop, begun in the set-up, is seen at work": (x) => {
    let [busy, wake] = [false, (): void => undefined];
    const loop = async (): Promise<void> => {
      for (;;) {
        await new Promise<void>((resolve) => (wake = resolve));
        busy = true;
        await tick();
        busy = false;
      }
    };
    void loop();
    x.task("a", async () => {
      await x.step();
      wake();
    });
    x.task("b", async () => {
      await x.step();
      check("busy", !busy);
    });
  },
  "a chain of then, begun in the set-up, is seen half-way": (x) => {
    let [go, state] = [(): void => undefined, 0];
    void new Promise<void>((resolve) => (go = resolve)).then(() => (state = 1)).then(() => (state = 2));
    x.task("a", async () => {
      await x.step();
      go();
    });
    x.task("b", async () => {
      await x.step();
      check("half", state !== 1);
    });
  },
  "what is bound to the set-up's context loses an update": (x) => {
    let count = 0;
    const add = AsyncResource.bind(async () => {
      const before = count;
      await tick();
      count = before + 1;
    });
    for (const name of ["a", "b"]) x.task(name, () => add());
    x.finally(() => check("lost", count === 2));
  },
  "two callbacks of nextTick lose an update": (x) => {
    let value = 0;
    const load = (then: (read: number) => void): void => process.nextTick(then, value);
    const add = (): Promise<void> =>
      new Promise((resolve) =>
        load((read) =>
          process.nextTick(() => {
            value = read + 1;
            resolve();
          }),
        ),
      );
    for (const name of ["a", "b"]) x.task(name, add);
    x.finally(() => check("lost", value === 2));
  },
  "what queueMicrotask puts right later is seen": (x) => {
    let busy = false;
    x.task("a", () => {
      busy = true;
      queueMicrotask(() => (busy = false));
      return tick();
    });
    x.task("b", async () => {
      await x.step();
      check("busy", !busy);
    });
  },
  "the second await of a step is a place where others run": (x) => {
    let busy = false;
    x.task("a", async () => {
      const step = x.step();
      await step;
      busy = true;
      await step;
      busy = false;
    });
    x.task("b", async () => {
      await x.step();
      check("busy", !busy);
    });
  },
};

describe("no false proof of what runs outside of tasks, or beside them:", () => {
  for (const [symptom, body] of Object.entries(programs))
    for (const strategy of ["exhaustive", "all"] as const)
      it(`${symptom} (${strategy})`, async () => {
        const report = await explore(body, { strategy });
        expect(report.verdict, formatReport(report)).toBe("failed");
        const again = await replay(body, report.failures[0]!.schedule);
        expect(again.failures[0]?.message).toBe(report.failures[0]!.message);
      });
});

describe("a set-up", () => {
  it("may await what it has begun", async () => {
    const report = await explore(async (x) => {
      let ready = false;
      const init = async (): Promise<void> => {
        for (let i = 0; i < 5; i++) await tick();
        ready = true;
      };
      await init();
      x.task("a", async () => {
        await x.step();
        check("not ready", ready);
      });
    });
    expect(report).toMatchObject({ verdict: "proved", unknown: [] });
  });
});

describe("never proved:", () => {
  it("two timers at once, whose winner the program catches as an error", async () => {
    const report = await explore((x) => {
      x.task("a", async () => {
        try {
          await Promise.race([x.sleep(10), x.sleep(5)]);
        } catch {
          return;
        }
      });
    });
    expect(report).toMatchObject({ verdict: "unknown", failures: [] });
    expect(report.unknown.join()).toMatch(
      /a waits for sleep\(10\) and sleep\(5\) at once, at .*outside-tasks\.test\.ts:\d+: make it two tasks/,
    );
  });

  it("a callback past the explorer: a copy of queueMicrotask", async () => {
    const copy = queueMicrotask;
    const report = await explore((x) => {
      x.task("a", () => {
        copy(() => undefined);
        return tick();
      });
    });
    expect(report.verdict).toBe("unknown");
    expect(report.unknown.join()).toMatch(/a queues a callback past the explorer, at .*outside-tasks/);
  });

  it("a task that does not await what it has begun", async () => {
    const report = await explore((x) => {
      let saved = false;
      const save = async (): Promise<void> => {
        await x.step("write");
        saved = true;
      };
      x.task("request", () => {
        void save();
        return tick();
      });
      x.finally(() => check("not saved", saved));
    });
    expect(report.verdict).toBe("unknown");
    expect(report.unknown.join()).toContain(
      "a piece of request runs after its task has ended (write): await what it has begun",
    );
  });

  it("a task that is declared in x.finally", async () => {
    const report = await explore((x) => {
      x.task("a", tick);
      x.finally(() => void x.task("late", tick));
    });
    expect(report.failures).toMatchObject([
      { message: 'x.task("late") in x.finally: all tasks have ended, and this one would never run' },
    ]);
  });

  it("a body that declares no task", async () => {
    const report = await explore(() => undefined);
    expect(formatReport(report)).toMatch(/^NOTHING TO EXPLORE: the body declares no task/);
    expect(exitCodeOf(report.verdict)).toBe(2);
  });

  it("an interval that would have gone on: it is no lost wake-up", async () => {
    const report = await explore((x: Exploration) => {
      x.task("a", () => {
        let rounds = 0;
        return new Promise((resolve) => {
          const timer = setInterval(() => {
            if (++rounds < 3) return;
            clearInterval(timer);
            resolve();
          }, 1);
        });
      });
    });
    expect(report).toMatchObject({ verdict: "unknown", failures: [] });
  });

  it("a module that WebAssembly compiles: it is no lost wake-up", async () => {
    const { WebAssembly: assembly } = globalThis as unknown as {
      WebAssembly: { compile(bytes: Uint8Array): Promise<unknown> };
    };
    const bytes = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const report = await explore((x) => {
      x.task("a", async () => {
        await assembly.compile(bytes);
        await x.step();
      });
    });
    expect(report).toMatchObject({ verdict: "unknown", failures: [] });
  });
});

it("a set-up that reads a file and imports a module is no reason to prove nothing", async () => {
  const report = await explore(async (x) => {
    await readFile(new URL(import.meta.url));
    await import("node:zlib");
    x.task("a", () => x.step());
    x.task("b", () => x.step());
  });
  expect(report).toMatchObject({ verdict: "proved", unknown: [] });
});

describe("a rejection that nobody handles", () => {
  const failing = async (text: string): Promise<void> => {
    await tick();
    throw new Error(text);
  };

  it.each(["exhaustive", "all"] as const)(
    "is none if somebody awaits it before the turn is over (%s)",
    async (strategy) => {
      const report = await explore(
        (x) => {
          x.task("a", async () => {
            const both = [failing("f1"), failing("f2")];
            for (const each of both) await each.catch(() => undefined);
          });
          x.task("b", async () => {
            const [first, second] = [failing("g1"), failing("g2")];
            try {
              await first;
            } catch {
              // as expected
            }
            try {
              await second;
            } catch {
              // as expected
            }
          });
        },
        { strategy },
      );
      expect(report).toMatchObject({ verdict: "proved", failures: [] });
    },
  );

  it.each(["exhaustive", "all"] as const)("is a failure if nobody ever does (%s)", async (strategy) => {
    const report = await explore(
      (x) => {
        x.task("a", async () => {
          void failing("f");
          await tick();
          await x.step();
        });
      },
      { strategy },
    );
    expect(report.failures).toMatchObject([{ kind: "unhandled-rejection", message: "f" }]);
  });
});
