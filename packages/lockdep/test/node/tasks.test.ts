import { LockError, lockdep, Mutex } from "@vfiokit/lockdep";
import { currentTask, runTask } from "@vfiokit/lockdep/node";
import { describe, expect, it } from "vitest";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

describe("tasks from AsyncLocalStorage", () => {
  it("the task is found across awaits, without being passed", async () => {
    const inner = async (): Promise<string> => {
      await settle();
      return currentTask().name;
    };
    expect(await Promise.all([runTask("a", inner), runTask("b", inner)])).toEqual(["a", "b"]);
    expect(runTask("sync", () => currentTask().name)).toBe("sync");
    expect(() => currentTask()).toThrow(LockError);
  });

  it("a task within a task is awaited by it: what the outer one holds counts", async () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    await runTask("outer", async (outer) => {
      using _ = await a.acquire(outer);
      await runTask("inner", async (inner) => {
        using _ = await b.acquire(inner);
      });
    });
    const wrong = outcome(
      runTask("other", async (other) => {
        using _b = await b.acquire(other);
        using _a = await a.acquire(other);
      }),
    );
    expect(await wrong).toMatchObject({ rejected: { problem: { kind: "cycle" } } });
  });

  it("unless it is detached", async () => {
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    const nestedIn = (options: { detached: boolean }): Promise<void> =>
      runTask("outer", async (outer) => {
        using _a = await a.acquire(outer);
        await runTask(
          "inner",
          async (inner) => {
            using _b = await b.acquire(inner);
          },
          options,
        );
      });
    await nestedIn({ detached: true });
    expect(lockdep.stats.edges).toBe(0);
    await nestedIn({ detached: false });
    expect(lockdep.stats.edges).toBe(1);
  });

  it("locks still held at the end are reported", async () => {
    const mutex = new Mutex("m");
    const leaking = outcome(
      runTask("leaky", async (task) => {
        await mutex.lock(task);
      }),
    );
    expect(await leaking).toMatchObject({ rejected: { problem: { kind: "held-at-exit" } } });
  });

  it("a signal ends the task's waits, and those of tasks within it", async () => {
    const [mutex, controller] = [new Mutex("m"), new AbortController()];
    await runTask("holder", async (holder) => {
      using _ = await mutex.acquire(holder);
      const waiting = outcome(
        runTask("outer", () => runTask("inner", (inner) => mutex.lock(inner)), {
          signal: controller.signal,
          detached: true,
        }) as Promise<void>,
      );
      controller.abort(new Error("enough"));
      expect(await waiting).toEqual({ rejected: new Error("enough") });
    });
  });
});
