import { formatProblem, lockdep, Mutex, Task, toJson } from "@vfiokit/lockdep";
import { runTask } from "@vfiokit/lockdep/node";
import { describe, expect, it, vi } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { freshValidator } from "./support/validator.js";

freshValidator();

const kinds = (): string[] => lockdep.problems.map(({ kind }) => kind);

/** Two tasks that have each taken a lock of their own, and now take the other's. */
async function cross(signal?: AbortSignal): Promise<{ ends: Promise<unknown>[]; t: Task; u: Task }> {
  lockdep.configure({ mode: () => undefined });
  const [a, b] = [new Mutex("a"), new Mutex("b")];
  const [t, u] = [new Task("t"), new Task("u")];
  await a.lock(t);
  await b.lock(u);
  const first = outcome(b.lock(t) as Promise<void>);
  const second = outcome(a.lock(u, signal ? { signal } : {}) as Promise<void>).then((end) => {
    b.unlock(u);
    return end;
  });
  await settle();
  return { ends: [first, second], t, u };
}

describe("a wait that is bounded", () => {
  it("is no hang while its signal can still end it, and is reported as bounded once it has", async () => {
    const controller = new AbortController();
    const { ends, u } = await cross(controller.signal);
    expect(kinds()).toEqual(["cycle"]);
    controller.abort(new Error("enough"));
    expect(await Promise.all(ends)).toEqual([{ resolved: undefined }, { rejected: new Error("enough") }]);
    expect(kinds()).toEqual(["cycle", "hang"]);
    const problem = lockdep.problems[1]!;
    expect(problem).toMatchObject({ endedBy: { name: "u", id: u.id } });
    expect(problem.kind === "hang" && problem.tasks.find(({ task }) => task.id === u.id)).toMatchObject({
      bounded: "signal",
    });
    expect(toJson(problem).why).toMatch(/The wait of u\/\d+ was bounded: a signal ended it after \d+ ms/);
    expect(formatProblem(problem)).toContain("deadlock: tasks waited for each other");
  });

  it("is a hang at once if nothing bounds it", async () => {
    await cross();
    expect(kinds()).toEqual(["cycle", "hang"]);
    expect(lockdep.problems[1]).not.toHaveProperty("endedBy");
  });

  it.each([
    [0, 10_000],
    [300, 300],
  ])(
    "with waitTimeout %i is reported after %i ms if its signal has not ended it",
    async (waitTimeout, after) => {
      vi.useFakeTimers();
      try {
        lockdep.configure({ waitTimeout });
        await cross(new AbortController().signal);
        vi.advanceTimersByTime(after - 1);
        expect(kinds()).not.toContain("hang");
        vi.advanceTimersByTime(1);
        expect(kinds()).toContain("hang");
        expect(toJson(lockdep.problems.find(({ kind }) => kind === "hang")!).why).toMatch(
          /Only the signal of u\/\d+'s wait can end it, and has not done so yet/,
        );
      } finally {
        vi.useRealTimers();
      }
    },
  );

  it("that ends without a hang is not reported", async () => {
    const [a, t, u] = [new Mutex("a"), new Task("t"), new Task("u")];
    await a.lock(t);
    const controller = new AbortController();
    const wait = outcome(a.lock(u, { signal: controller.signal }) as Promise<void>);
    controller.abort();
    await wait;
    expect(kinds()).toEqual([]);
  });
});

describe("a lock left behind", () => {
  it("by an exception is reported, with where it was taken and what was thrown", async () => {
    lockdep.configure({ mode: () => undefined });
    const a = new Mutex("a");
    const body = async (task: Task): Promise<void> => {
      await a.lock(task);
      throw new Error("between lock and unlock");
    };
    expect(await outcome(runTask("leaky", body))).toEqual({ rejected: new Error("between lock and unlock") });
    const [problem] = lockdep.problems;
    expect(problem).toMatchObject({ kind: "held-at-exit", thrown: "Error: between lock and unlock" });
    const taken = problem?.kind === "held-at-exit" ? problem.held[0] : undefined;
    expect(taken?.class).toBe("a");
    expect(taken?.at[0]).toMatchObject({
      fn: "body",
      file: expect.stringContaining("waits.test.ts") as string,
    });
    expect(toJson(problem!).why).toContain("has thrown Error: between lock and unlock and still holds a");
  });

  it("by an exception of a body that is not async is reported too", () => {
    const a = new Mutex("a");
    const failed = (): void =>
      runTask("leaky", (task) => {
        void a.lock(task);
        throw new Error("thrown");
      });
    expect(failed).toThrow(/leaky\/\d+ still has locks held!/);
    expect(lockdep.problems).toHaveLength(1);
  });

  it("throwing, the validator keeps what was thrown as the cause", async () => {
    const a = new Mutex("a");
    const thrown = new Error("thrown");
    const failing = runTask("leaky", async (task) => {
      await a.lock(task);
      throw thrown;
    });
    expect(await outcome(failing)).toMatchObject({
      rejected: { problem: { kind: "held-at-exit" }, cause: thrown },
    });
  });

  it("an exception without a lock held is passed on as it is", async () => {
    const thrown = new Error("thrown");
    expect(await outcome(runTask("t", () => Promise.reject(thrown)))).toEqual({ rejected: thrown });
    expect(lockdep.problems).toEqual([]);
  });

  it("granted after its task ended is reported, with where it waited", async () => {
    lockdep.configure({ mode: () => undefined });
    const a = new Mutex("a");
    const holder = new Task("holder");
    await a.lock(holder);
    const givesUp = async (task: Task): Promise<void> => {
      void a.lock(task); // nobody awaits it
      await settle();
    };
    await runTask("impatient", givesUp);
    expect(lockdep.problems).toEqual([]);
    a.unlock(holder);
    const [problem] = lockdep.problems;
    expect(problem).toMatchObject({ kind: "after-exit", task: { name: "impatient" }, waited: true });
    expect(problem?.kind === "after-exit" && problem.acquired.at[0]).toMatchObject({ fn: "givesUp" });
  });

  it("taken after its task ended is refused", () => {
    const a = new Mutex("a");
    const task = new Task("t");
    task.end();
    expect(() => a.lock(task)).toThrow(/takes a after its end/);
    expect(a.owner).toBeUndefined();
  });
});
