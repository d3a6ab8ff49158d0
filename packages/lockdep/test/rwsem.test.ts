import { LockError, RwSemaphore, Task } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { outcome } from "./support/outcome.js";
import { locksOnly } from "./support/validator.js";

locksOnly();

const task = (name: string, signal?: AbortSignal): Task => new Task(name, { signal });

describe("RwSemaphore", () => {
  it("lets readers in together, and a writer alone", () => {
    const sem = new RwSemaphore("s");
    const [a, b, w] = [task("a"), task("b"), task("w")];
    expect(sem.downRead(a)).toBeUndefined();
    expect(sem.downRead(b)).toBeUndefined();
    expect(sem.holders()).toEqual([a, b]);
    expect(sem.tryDownWrite(w)).toBe(false);
    sem.upRead(a);
    expect(sem.tryDownWrite(w)).toBe(false);
    sem.upRead(b);
    expect(sem.tryDownWrite(w)).toBe(true);
    expect(sem.tryDownRead(a)).toBe(false);
    expect(sem.isHeldBy(w, "write")).toBe(true);
    expect(sem.isHeldBy(w, "read")).toBe(false);
  });

  it("tells who waits for it, and how", async () => {
    const sem = new RwSemaphore("s");
    const [a, w, r] = [task("a"), task("w"), task("r")];
    void sem.downRead(a);
    const writing = sem.downWrite(w);
    const reading = sem.downRead(r);
    expect(sem.waiters().map(({ task, mode }) => [task, mode])).toEqual([
      [w, "write"],
      [r, "read"],
    ]);
    sem.upRead(a);
    sem.upWrite(w);
    sem.upRead(r);
    expect(sem.waiters()).toEqual([]);
    await writing;
    await reading;
  });

  it("queues readers behind a waiting writer, and serves in the order of arrival", async () => {
    const sem = new RwSemaphore("s");
    const order: string[] = [];
    const first = task("r0");
    void sem.downRead(first);
    const enter = async (name: string, mode: "read" | "write"): Promise<void> => {
      using hold = await sem[mode](task(name));
      order.push(hold.task.name);
      await Promise.resolve();
    };
    const done = [
      enter("w1", "write"),
      enter("r2", "read"),
      enter("r3", "read"),
      enter("w4", "write"),
      enter("r5", "read"),
    ];
    expect(sem.tryDownRead(task("late"))).toBe(false);
    sem.upRead(first);
    await Promise.all(done);
    expect(order).toEqual(["w1", "r2", "r3", "w4", "r5"]);
  });

  it("hands the lock to all readers at the head of the queue at once", () => {
    const sem = new RwSemaphore("s");
    const [w, a, b, w2] = [task("w"), task("a"), task("b"), task("w2")];
    void sem.downWrite(w);
    void sem.downRead(a);
    void sem.downRead(b);
    void sem.downWrite(w2);
    sem.upWrite(w);
    expect(sem.holders()).toEqual([a, b]);
    sem.upRead(b);
    sem.upRead(a);
    expect(sem.holders()).toEqual([w2]);
  });

  it("downgrades a write hold: readers that wait come in, no writer in between", () => {
    const sem = new RwSemaphore("s");
    const [w, r, w2] = [task("w"), task("r"), task("w2")];
    void sem.downWrite(w);
    void sem.downRead(r);
    void sem.downWrite(w2);
    sem.downgradeWrite(w);
    expect(sem.isHeldBy(w, "read")).toBe(true);
    expect(sem.holders()).toEqual([w, r]);
    expect(() => sem.upWrite(w)).toThrow(LockError);
    sem.upRead(r);
    sem.upRead(w);
    expect(sem.holders()).toEqual([w2]);
  });

  it("refuses what the task does not hold", () => {
    const sem = new RwSemaphore("s");
    const [a, b] = [task("a"), task("b")];
    void sem.downRead(a);
    expect(() => sem.upRead(b)).toThrow(new LockError("b does not hold s for reading"));
    expect(() => sem.upWrite(a)).toThrow(new LockError("a does not hold s for writing"));
    expect(() => sem.downgradeWrite(a)).toThrow(LockError);
    expect(sem.holders()).toEqual([a]);
  });

  it("refuses a wait for oneself: write after write, read after write, write after read, read behind a writer", () => {
    const a = task("a");
    const written = new RwSemaphore("s");
    void written.downWrite(a);
    expect(() => written.downWrite(a)).toThrow(
      new LockError("a takes s for writing, which it holds already"),
    );
    expect(() => written.downRead(a)).toThrow(LockError);
    const read = new RwSemaphore("s");
    void read.downRead(a);
    expect(() => read.downWrite(a)).toThrow(LockError);
    void read.downWrite(task("w"));
    expect(() => read.downRead(a)).toThrow(new LockError("a takes s for reading, which it holds already"));
  });

  it("a recursive read passes a writer that only waits, not one that holds", async () => {
    const sem = new RwSemaphore("s");
    const [a, w, b, c] = [task("a"), task("w"), task("b"), task("c")];
    void sem.downRead(a);
    void sem.downWrite(w);
    expect(sem.downRead(a, { recursive: true })).toBeUndefined();
    expect(sem.tryDownRead(b, { recursive: true })).toBe(true);
    expect(sem.tryDownRead(b)).toBe(false);
    sem.upRead(a);
    sem.upRead(a);
    sem.upRead(b);
    expect(sem.holders()).toEqual([w]);
    void sem.downRead(b);
    const w2 = sem.downWrite(task("w2"));
    const recursive = sem.downRead(c, { recursive: true });
    expect(recursive).toBeInstanceOf(Promise);
    sem.upWrite(w);
    await recursive; // with the reader b, before the writer w2 that came first
    expect(sem.holders()).toEqual([b, c]);
    sem.upRead(b);
    sem.upRead(c);
    await w2;
  });

  it("read() and write() hold it for a scope; of two reads of a task each is released once", async () => {
    const sem = new RwSemaphore("s");
    const a = task("a");
    {
      using _outer = await sem.read(a);
      {
        using _inner = await sem.read(a);
        expect(sem.holders()).toEqual([a, a]);
      }
      expect(sem.holders()).toEqual([a]);
    }
    using _ = await sem.write(a);
    expect(sem.isHeldBy(a, "write")).toBe(true);
  });

  it("a hold that is released already cannot be disposed", async () => {
    const sem = new RwSemaphore("s");
    const a = task("a");
    const hold = await sem.read(a);
    sem.upRead(a);
    expect(() => hold[Symbol.dispose]()).toThrow(LockError);
  });
});

describe("ending a wait by AbortSignal", () => {
  for (const place of [0, 1, 2, 3]) {
    it(`from place ${place} of w, r, r, w`, async () => {
      const sem = new RwSemaphore("s");
      const owner = task("owner");
      void sem.downWrite(owner);
      const kinds = ["write", "read", "read", "write"] as const;
      const controllers = kinds.map(() => new AbortController());
      const waiters = kinds.map((_, i) => task(`w${i}`, controllers[i]!.signal));
      const outcomes = waiters.map((t, i) => outcome(sem[kinds[i]!](t) as Promise<unknown>));
      controllers[place]!.abort(new Error("killed"));
      await expect(outcomes[place]!).resolves.toEqual({ rejected: new Error("killed") });
      sem.upWrite(owner);
      const served: string[][] = [];
      for (let holders = sem.holders(); holders.length > 0; holders = sem.holders()) {
        served.push(holders.map((holder) => holder.name));
        for (const holder of holders) holder.holds[0]![Symbol.dispose]();
      }
      expect(served).toEqual(
        [["w0"], ["w1", "w2"], ["w3"]]
          .map((group) => group.filter((name) => name !== `w${place}`))
          .filter((group) => group.length > 0),
      );
    });
  }

  it("a writer that gives up lets the readers behind it in", async () => {
    const sem = new RwSemaphore("s");
    const [a, b] = [task("a"), task("b")];
    const controller = new AbortController();
    void sem.downRead(a);
    const writer = outcome(sem.downWrite(task("w", controller.signal))!);
    const reader = sem.downRead(b);
    controller.abort(new Error("killed"));
    await expect(writer).resolves.toEqual({ rejected: new Error("killed") });
    await reader;
    expect(sem.holders()).toEqual([a, b]);
  });
});
