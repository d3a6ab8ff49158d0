import { lockdep } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { instrumentLocks, type Locks } from "../../src/web-locks/node.js";
import { outcome, settle } from "../support/outcome.js";
import { freshValidator } from "../support/validator.js";

freshValidator();

interface NodeLocks extends Locks {
  request<T>(name: string, callback: (lock: unknown) => Promise<T>): Promise<T>;
}

const { navigator } = globalThis as { navigator?: { locks?: NodeLocks } };
const native = navigator?.locks;

describe.skipIf(!native)("navigator.locks of this Node (skipped where there is none: before Node 24)", () => {
  it("locks nested in opposite order are a cycle, after an await in the callback too", async () => {
    const locks = instrumentLocks(native!);
    const nested = (outer: string, inner: string): Promise<string> =>
      locks.request(outer, async () => {
        await settle();
        return locks.request(inner, () => Promise.resolve("both"));
      });
    expect(await nested("user:1", "order:1")).toBe("both");
    expect(lockdep.problems).toEqual([]);
    expect(await outcome(nested("order:2", "user:2"))).toMatchObject({
      rejected: { problem: { kind: "cycle" } },
    });
    // What was refused is not held.
    expect(await locks.request("user:2", () => Promise.resolve(1))).toBe(1);
  });
});
