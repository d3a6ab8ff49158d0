import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { lockdep, Mutex, Task } from "@vfiokit/lockdep";
import { expect, it } from "vitest";
import { freshValidator } from "./support/validator.js";

freshValidator();

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

it("classes whose locks are all collected make room for new ones, and no others do", async () => {
  lockdep.configure({ limits: { classes: 100 } });
  const task = new Task("t");
  let finalized = 0;
  const registry = new FinalizationRegistry(() => finalized++);
  const [kept, other] = [new Mutex("kept"), new Mutex("other")];
  void kept.lock(task);
  void other.lock(task);
  other.unlock(task);
  kept.unlock(task);
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 90; i++) {
      const mutex = new Mutex(`session ${round}.${i}`);
      void mutex.lock(task);
      mutex.unlock(task);
      registry.register(mutex, undefined);
    }
    // Finalizers run when the engine sees fit, the validator's with ours. A few locks may still be on its stack.
    while (finalized < 90 * (round + 1) - 5) {
      collect();
      await new Promise((resolve) => setTimeout(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  expect(lockdep.problems).toEqual([]); // 902 classes, and the bound of 100 was never reached
  expect(lockdep.stats.classes).toBeLessThanOrEqual(100);
  // What was proved of locks that live is still known.
  void other.lock(task);
  expect(() => kept.lock(task)).toThrow(/possible circular locking dependency/);
  lockdep.takeProblems();
  other.unlock(task);
  lockdep.configure({ limits: { classes: 8191 } });
});
