import * as original from "async-mutex";
import { lockdep } from "@vfiokit/lockdep";
import * as ours from "@vfiokit/lockdep/async-mutex";
import fc from "fast-check";
import { beforeEach, expect, it } from "vitest";
import { settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();
beforeEach(() => lockdep.configure({ mode: () => undefined }));

const weight = fc.integer({ min: 1, max: 3 });
const priority = fc.integer({ min: -1, max: 1 });
const operation = fc.oneof(
  fc.record({ op: fc.constant("acquire" as const), weight, priority }),
  fc.record({ op: fc.constant("run" as const), weight, priority }),
  fc.record({ op: fc.constant("releaser" as const), which: fc.nat(9) }),
  fc.record({ op: fc.constant("release" as const), weight }),
  fc.record({ op: fc.constant("setValue" as const), value: fc.integer({ min: -1, max: 4 }) }),
  fc.record({ op: fc.constant("cancel" as const) }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** What an observer sees of a semaphore after each operation, when all that is due has run; how many turns that takes is not promised. */
async function observe(
  library: Pick<typeof ours, "Semaphore">,
  value: number,
  operations: readonly Operation[],
): Promise<unknown[]> {
  const semaphore = new library.Semaphore(value);
  const releasers: (() => void)[] = [];
  const seen: unknown[] = [];
  let events: string[] = [];
  for (const [i, each] of operations.entries()) {
    const failed = (error: unknown): number => events.push(`${i} fails: ${(error as Error).message}`);
    if (each.op === "acquire")
      semaphore.acquire(each.weight, each.priority).then(([left, release]) => {
        events.push(`${i} acquired at ${left}`);
        releasers.push(release);
      }, failed);
    else if (each.op === "run")
      semaphore
        .runExclusive((left) => events.push(`${i} runs at ${left}`), each.weight, each.priority)
        .then(() => events.push(`${i} has run`), failed);
    else if (each.op === "releaser") releasers[each.which % Math.max(1, releasers.length)]?.();
    else if (each.op === "release") semaphore.release(each.weight);
    else if (each.op === "setValue") semaphore.setValue(each.value);
    else semaphore.cancel();
    await settle();
    seen.push([...events.sort(), semaphore.getValue(), semaphore.isLocked()]);
    events = [];
  }
  return seen;
}

// tryAcquire and withTimeout are left to documented.test.ts: a request that gave up keeps its place in async-mutex's
// queue, and lets go when its turn comes; here it leaves, which others in the queue see as a value not taken.
it("any sequence of operations on a semaphore looks as it does with async-mutex, though it is watched", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: -1, max: 3 }),
      fc.array(operation, { maxLength: 12 }),
      async (value, operations) => {
        const theirs = await observe(original as unknown as typeof ours, value, operations);
        expect(await observe(ours, value, operations)).toEqual(theirs);
      },
    ),
    { numRuns: 150 },
  );
});
