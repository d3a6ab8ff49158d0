import { Channel, Semaphore, Task } from "@vfiokit/lockdep";
import fc from "fast-check";
import { expect, it } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { locksOnly } from "./support/validator.js";

locksOnly();

const TASKS = 5;

/** A fair semaphore in the simplest words: a queue of requests, and what each task holds. */
class Permits {
  held = new Map<number, number>();
  queue: { task: number; permits: number }[] = [];

  constructor(public free: number) {}

  arrive(task: number, permits: number): void {
    this.queue.push({ task, permits });
    this.serve();
  }
  leave(task: number): void {
    this.queue = this.queue.filter((entry) => entry.task !== task);
    this.serve();
  }
  release(task: number, permits: number): void {
    this.held.set(task, this.held.get(task)! - permits);
    if (this.held.get(task) === 0) this.held.delete(task);
    this.free += permits;
    this.serve();
  }
  private serve(): void {
    for (let next = this.queue[0]; next && next.permits <= this.free; next = this.queue[0]) {
      this.queue.shift();
      this.free -= next.permits;
      this.held.set(next.task, next.permits);
    }
  }
}

it("Semaphore does what the model does, whatever the tasks do", async () => {
  const step = fc.record({
    task: fc.nat(TASKS - 1),
    act: fc.constantFrom("acquire", "acquire", "try", "abort", "release", "release"),
    permits: fc.integer({ min: 1, max: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const semaphore = new Semaphore(4, "s");
      const model = new Permits(4);
      const tasks = Array.from({ length: TASKS }, (_, i) => new Task(`${i}`));
      const aborts = tasks.map(() => new AbortController());
      const told = new Set<number>();
      for (const { task, act, permits } of steps) {
        const holds = model.held.get(task);
        const waits = model.queue.some((entry) => entry.task === task);
        if (act === "acquire" && holds === undefined && !waits) {
          const { signal } = aborts[task]!;
          const wait = semaphore.acquire(tasks[task]!, permits, { signal });
          model.arrive(task, permits);
          if (wait instanceof Promise) void outcome(wait).then((end) => "resolved" in end && told.add(task));
          else told.add(task);
        } else if (act === "try" && holds === undefined && !waits) {
          const free = model.queue.length === 0 && permits <= model.free;
          expect(semaphore.tryAcquire(tasks[task]!, permits) !== undefined).toBe(free);
          if (free) {
            model.arrive(task, permits);
            told.add(task);
          }
        } else if (act === "abort" && waits) {
          aborts[task]!.abort();
          aborts[task] = new AbortController();
          model.leave(task);
        } else if (act === "release" && holds !== undefined) {
          const part = Math.min(holds, permits);
          semaphore.release(tasks[task]!, part);
          model.release(task, part);
          if (part === holds) told.delete(task);
        }
        // Permits change hands at once; the promise tells a little later.
        expect(semaphore.free).toBe(model.free);
        expect(tasks.map((each) => semaphore.heldBy(each))).toEqual(
          tasks.map((_, i) => model.held.get(i) ?? 0),
        );
        expect(semaphore.waiters().map(({ task: { name } }) => Number(name))).toEqual(
          model.queue.map((entry) => entry.task),
        );
        await settle();
        expect(told).toEqual(new Set(model.held.keys()));
      }
    }),
    { numRuns: 150 },
  );
});

it("a Channel loses nothing, doubles nothing and keeps the order, whatever is aborted", async () => {
  const step = fc.constantFrom(
    "send",
    "send",
    "receive",
    "receive",
    "trySend",
    "tryReceive",
    "abort",
    "close",
  );
  await fc.assert(
    fc.asyncProperty(fc.nat(3), fc.array(step, { maxLength: 60 }), async (capacity, steps) => {
      const channel = new Channel<number>(capacity, "ch");
      let next = 0;
      const sent: number[] = []; // values whose sending ended well
      const failed = new Set<number>();
      const got: number[] = [];
      let aborts: AbortController[] = [];
      const receive = (value: number | undefined): void => {
        if (value !== undefined) got.push(value);
      };
      let closed = false;
      for (const act of steps) {
        const abort = new AbortController();
        const task = new Task(act, { signal: abort.signal });
        if ((act === "send" || act === "trySend") && !closed) {
          const value = ++next;
          if (act === "trySend") (channel.trySend(value) ? sent : []).push(value);
          else {
            const wait = channel.send(task, value);
            aborts.push(abort);
            if (!wait) sent.push(value);
            else void outcome(wait).then((end) => ("resolved" in end ? sent.push(value) : failed.add(value)));
          }
        } else if (act === "receive") {
          const value = channel.receive(task);
          aborts.push(abort);
          if (value instanceof Promise)
            void outcome(value).then((end) => "resolved" in end && receive(end.resolved));
          else receive(value);
        } else if (act === "tryReceive") receive(channel.tryReceive());
        else if (act === "abort") aborts.shift()?.abort();
        else if (act === "close" && steps.length > 40) {
          channel.close();
          closed = true;
        }
        expect(channel.size).toBeLessThanOrEqual(capacity);
        await settle();
      }
      for (const abort of aborts) abort.abort();
      aborts = [];
      await settle();
      for (let value = channel.tryReceive(); value !== undefined; value = channel.tryReceive())
        got.push(value);
      expect(got).toEqual([...got].sort((one, other) => one - other));
      expect(new Set(got)).toEqual(new Set(sent));
      expect(got).toHaveLength(sent.length);
      for (const value of got) expect(failed.has(value)).toBe(false);
    }),
    { numRuns: 300 },
  );
});
