import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Mutex, RwSemaphore, type Task } from "@vfiokit/lockdep";
import { explore, type Body } from "@vfiokit/explore";

type Op =
  | { op: "set" | "get"; cell: number }
  | { op: "mutex" | "try" | "read" | "write"; lock: number; inside: readonly Op[] };

const access = fc.record({ op: fc.constantFrom("set" as const, "get" as const), cell: fc.nat(1) });
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 2, arbitrary: access },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom("mutex" as const, "try" as const, "read" as const, "write" as const),
      lock: fc.nat(1),
      inside: fc.array(access as fc.Arbitrary<Op>, { maxLength: 2 }),
    }),
  },
);
const nested: fc.Arbitrary<Op> = fc.record({
  op: fc.constantFrom("mutex" as const, "try" as const, "read" as const, "write" as const),
  lock: fc.nat(1),
  inside: fc.array(op, { minLength: 1, maxLength: 2 }),
});
const program = fc.array(fc.array(fc.oneof(op, nested), { minLength: 1, maxLength: 2 }), {
  minLength: 2,
  maxLength: 3,
});

/** Runs the program's tasks; every execution that ends adds what it came to. */
function body(tasks: readonly (readonly Op[])[], outcomes: Set<string>): Body {
  return (x) => {
    const cells = [x.shared("c0", ""), x.shared("c1", "")];
    const mutexes = [new Mutex("m0"), new Mutex("m1")];
    const rwsems = [new RwSemaphore("r0"), new RwSemaphore("r1")];
    const lockOf = (item: Extract<Op, { lock: number }>) =>
      item.op === "mutex" || item.op === "try" ? mutexes[item.lock] : rwsems[item.lock];
    const seen: string[] = [];
    const run = async (task: Task, ops: readonly Op[]): Promise<void> => {
      for (const item of ops) {
        // A task that takes a lock twice fails, whatever the others do: of no interest here.
        if ("lock" in item && task.holds.some(({ lock }) => lock === lockOf(item))) continue;
        if (item.op === "set") await cells[item.cell]!.set(`${await cells[item.cell]!.get()}${task.name}`);
        else if (item.op === "get") seen.push(`${task.name}:${await cells[item.cell]!.get()}`);
        else if (item.op === "mutex") {
          using _ = await mutexes[item.lock]!.acquire(task);
          await run(task, item.inside);
        } else if (item.op === "try") {
          if (!mutexes[item.lock]!.tryLock(task)) {
            await cells[0]!.set("busy");
            continue;
          }
          await run(task, item.inside);
          mutexes[item.lock]!.unlock(task);
        } else if (item.op === "read") {
          using _ = await rwsems[item.lock]!.read(task);
          await run(task, item.inside);
        } else {
          using _ = await rwsems[item.lock]!.write(task);
          await run(task, item.inside);
        }
      }
    };
    for (const [i, ops] of tasks.entries()) x.task("abc"[i]!, (task) => run(task, ops));
    x.finally(
      () => void outcomes.add(`${cells.map((cell) => cell.current).join("|")} ${seen.toSorted().join(",")}`),
    );
  };
}

describe("the reduction", () => {
  it("reaches every outcome that trying everything reaches", async () => {
    await fc.assert(
      fc.asyncProperty(program, async (tasks) => {
        const results = [];
        for (const strategy of ["all", "exhaustive"] as const) {
          const outcomes = new Set<string>();
          const report = await explore(body(tasks, outcomes), {
            strategy,
            keepGoing: true,
            lockdep: false,
            maxExecutions: 1000,
          });
          if (strategy === "all") fc.pre(report.exhausted);
          expect(report.exhausted).toBe(true);
          const failures = report.failures.map(({ kind, message }) => `${kind} ${message}`);
          results.push([...outcomes, ...failures].toSorted());
        }
        expect(results[1]).toEqual(results[0]);
      }),
      { numRuns: Number(process.env["REDUCTION_RUNS"] ?? 40) },
    );
  }, 120_000);
});
