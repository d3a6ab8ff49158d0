import { lockdep, Mutex } from "@vfiokit/lockdep";
import { currentTask, traced } from "@vfiokit/lockdep/node";
import { expect, it } from "vitest";
import { outcome } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

it("traced makes each call of a function a task of its name", async () => {
  const run = traced(async function refresh(times: number) {
    await Promise.resolve();
    return `${currentTask().name} ${times}`;
  });
  expect(await run(2)).toBe("refresh 2");
  expect(traced(() => currentTask().name, "named")()).toBe("named");
  expect(run.name).toBe("refresh");
});

it("traced is a decorator of methods, which keep their this", async () => {
  class Cache {
    readonly lock = new Mutex("cache");
    async evict(): Promise<string> {
      await this.lock.lock(currentTask());
      this.lock.unlock(currentTask());
      return currentTask().name;
    }
    async leak(): Promise<void> {
      await this.lock.lock(currentTask());
    }
  }
  // As `@traced` before the method comes out where decorators are lowered.
  for (const name of ["evict", "leak"] as const) {
    const method = Object.getOwnPropertyDescriptor(Cache.prototype, name)!.value as () => Promise<string>;
    const context = { kind: "method", name } as ClassMethodDecoratorContext;
    Object.assign(Cache.prototype, { [name]: traced(method, context) });
  }
  expect(await new Cache().evict()).toBe("evict");
  expect(await outcome(new Cache().leak())).toMatchObject({
    rejected: { problem: { kind: "held-at-exit" } },
  });
  expect(lockdep.problems).toMatchObject([{ task: { name: "leak" } }]);
});
