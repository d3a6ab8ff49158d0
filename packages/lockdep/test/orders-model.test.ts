import { lockdep, Mutex, Task } from "@vfiokit/lockdep";
import fc from "fast-check";
import { expect, it } from "vitest";
import { freshValidator } from "./support/validator.js";

freshValidator();

/** Is there a way from one to the other? As simply as it can be said. */
function leads(edges: ReadonlySet<string>, from: number, to: number, seen = new Set<number>()): boolean {
  if (from === to) return true;
  if (seen.has(from)) return false;
  seen.add(from);
  return Array.from({ length: 8 }, (_, next) => next).some(
    (next) => edges.has(`${from}>${next}`) && leads(edges, next, to, seen),
  );
}

it("an order is refused exactly if the orders before it lead back, whatever their sequence", () => {
  const pair = fc.tuple(fc.nat(7), fc.nat(7)).filter(([a, b]) => a !== b);
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 60 }), (pairs) => {
      lockdep.reset();
      const locks = Array.from({ length: 8 }, (_, i) => new Mutex(`class ${i}`));
      const task = new Task("t");
      const edges = new Set<string>();
      const refused = new Set<string>();
      for (const [outer, inner] of pairs) {
        const key = `${outer}>${inner}`;
        if (refused.has(key)) continue; // reported once, and left out from there on
        const wrong = !edges.has(key) && leads(edges, inner, outer);
        void locks[outer]!.lock(task);
        let thrown = false;
        try {
          void locks[inner]!.lock(task);
          locks[inner]!.unlock(task);
        } catch {
          thrown = true;
        }
        locks[outer]!.unlock(task);
        expect(thrown).toBe(wrong);
        if (wrong) refused.add(key);
        else edges.add(key);
      }
      lockdep.takeProblems();
    }),
    { numRuns: 300 },
  );
});
