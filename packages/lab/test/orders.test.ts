import { lockdep, Mutex, RwSemaphore, Task } from "@vfiokit/lockdep";
import { afterEach, describe, expect, it } from "vitest";
import { describeProblem } from "../src/body.js";
import { orderLines, Orders } from "../src/orders.js";

afterEach(() => lockdep.reset());

const circleOf = (...lines: string[]): string | undefined => {
  const orders = new Orders();
  for (const line of lines) orders.add([line]);
  const problem = orders.circle();
  return problem && describeProblem(problem);
};

describe("the orders of locks of many executions", () => {
  it("are what the validator has seen", async () => {
    lockdep.reset();
    const [state, memory] = [new Mutex("stateMutex"), new RwSemaphore("memoryLock")];
    const task = new Task("reset");
    using _state = await state.acquire(task, { subclass: 1 });
    using _memory = await memory.read(task);
    expect(orderLines(lockdep.orders)).toEqual(["stateMutex/1 EN memoryLock"]);
  });

  it("make a circle that none of them makes alone, whichever came first", () => {
    expect(circleOf("a EN b", "b EN c")).toBeUndefined();
    expect(circleOf("a EN b", "b EN c", "c EN a")).toBe(circleOf("c EN a", "b EN c", "a EN b"));
    expect(circleOf("a EN b", "b EN c", "c EN a")).toMatch(
      /^(a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)$/,
    );
  });

  it("make none of recursive readers, and none of a class and its subclass", () => {
    expect(circleOf("a SR b", "b SR a")).toBeUndefined();
    expect(circleOf("a EN b/1", "b EN a")).toBeUndefined();
    expect(circleOf("a EN b/1", "b/1 EN a")).toMatch(/b\/1/);
  });

  it("tell of a lock that is taken under one of its class", () => {
    expect(circleOf("a EN a")).toBe("recursion");
  });
});
