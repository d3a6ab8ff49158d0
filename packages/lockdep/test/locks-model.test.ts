import { RwSemaphore, Task } from "@vfiokit/lockdep";
import fc from "fast-check";
import { expect, it } from "vitest";
import { outcome, settle } from "./support/outcome.js";
import { locksOnly } from "./support/validator.js";

locksOnly();

/** What a fair reader-writer lock is, in the simplest words: a queue, and a set of holders. */
class Model {
  holders: { task: number; mode: "read" | "write" }[] = [];
  queue: { task: number; mode: "read" | "write" }[] = [];

  arrive(task: number, mode: "read" | "write"): void {
    this.queue.push({ task, mode });
    this.serve();
  }
  leave(task: number): void {
    this.queue = this.queue.filter((entry) => entry.task !== task);
    this.serve();
  }
  release(task: number): void {
    this.holders = this.holders.filter((entry) => entry.task !== task);
    this.serve();
  }
  downgrade(task: number): void {
    this.holders = this.holders.map((entry) => (entry.task === task ? { task, mode: "read" } : entry));
    this.serve();
  }
  private serve(): void {
    for (let next = this.queue[0]; next; next = this.queue[0]) {
      const free =
        next.mode === "write" ? this.holders.length === 0 : this.holders.every((h) => h.mode === "read");
      if (!free) return;
      this.holders.push(this.queue.shift()!);
    }
  }
}

const step = fc.record({
  task: fc.nat(4),
  act: fc.constantFrom("read", "write", "tryRead", "tryWrite", "abort", "release", "release", "downgrade"),
});

it("does what the model does, whatever the tasks do", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const sem = new RwSemaphore("s");
      const model = new Model();
      const names = [0, 1, 2, 3, 4];
      let controllers = names.map(() => new AbortController());
      const tasks = names.map((name) => new Task(String(name)));
      const granted = new Set<number>();
      for (const { task, act } of steps) {
        const holds = model.holders.find((entry) => entry.task === task);
        const waits = model.queue.some((entry) => entry.task === task);
        if ((act === "read" || act === "write") && !holds && !waits) {
          const { signal } = controllers[task]!;
          const wait =
            act === "read" ? sem.downRead(tasks[task]!, { signal }) : sem.downWrite(tasks[task]!, { signal });
          model.arrive(task, act);
          if (wait) void outcome(wait).then((end) => "resolved" in end && granted.add(task));
          else granted.add(task);
        } else if ((act === "tryRead" || act === "tryWrite") && !holds && !waits) {
          const mode = act === "tryRead" ? "read" : "write";
          const free =
            model.queue.length === 0 &&
            model.holders.every((entry) => mode === "read" && entry.mode === "read");
          expect(mode === "read" ? sem.tryDownRead(tasks[task]!) : sem.tryDownWrite(tasks[task]!)).toBe(free);
          if (free) {
            model.arrive(task, mode);
            granted.add(task);
          }
        } else if (act === "abort" && waits) {
          controllers[task]!.abort();
          controllers = controllers.map((c, i) => (i === task ? new AbortController() : c));
          model.leave(task);
        } else if (act === "release" && holds) {
          if (holds.mode === "read") sem.upRead(tasks[task]!);
          else sem.upWrite(tasks[task]!);
          granted.delete(task);
          model.release(task);
        } else if (act === "downgrade" && holds?.mode === "write") {
          sem.downgradeWrite(tasks[task]!);
          model.downgrade(task);
        }
        // Ownership changes hands at once; the promise tells a little later.
        expect(new Set(sem.holders().map((t) => t.name))).toEqual(
          new Set(model.holders.map((h) => String(h.task))),
        );
        for (const { task: holder, mode } of model.holders)
          expect(sem.isHeldBy(tasks[holder]!, mode)).toBe(true);
        await settle();
        expect(granted).toEqual(new Set(model.holders.map((entry) => entry.task)));
      }
    }),
    { numRuns: 150 },
  );
});
