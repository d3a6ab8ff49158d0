import type { CycleProblem, Order } from "@vfiokit/lockdep";
import { describe, expect, it } from "vitest";
import { cycleLines } from "../../src/report/cycle-lines.js";

type Access = Order["held"];

function order(task: string, from: string, held: Access, to: string, acquired: Access): Order {
  const usage = { exclusive: true, shared: true };
  return { from, to, held, acquired, usage, task: { name: task, id: 1 }, heldAt: [], at: [], besides: [] };
}

const text = (...orders: Order[]): string[] =>
  cycleLines({ orders } satisfies Pick<CycleProblem, "orders">).map(({ task, text }) => `${task}: ${text}`);

describe("a cycle of orders, acted out", () => {
  it("has each task take its first lock, and then wait for the next one's", () => {
    expect(
      text(order("one", "A", "exclusive", "B", "exclusive"), order("two", "B", "exclusive", "A", "read")),
    ).toEqual([
      "one: takes A",
      "two: takes B",
      "one: waits for B, held by two",
      "two: waits for A for reading, held by one",
      ": a circle of waits: one waits for B; two waits for A",
    ]);
  });

  it("brings in a writer, behind whom a reader waits for a reader", () => {
    expect(
      text(order("one", "A", "exclusive", "B", "read"), order("two", "B", "read", "A", "exclusive")),
    ).toEqual([
      "one: takes A",
      "two: takes B for reading",
      "a writer of B: waits for B, held by two",
      "one: waits for B for reading, held by a writer of B",
      "two: waits for A, held by one",
      ": a circle of waits: one waits for B; two waits for A",
    ]);
  });

  it("tells two tasks of one name apart", () => {
    expect(
      text(
        order("client", "A", "exclusive", "B", "exclusive"),
        order("client", "B", "exclusive", "A", "exclusive"),
      ),
    ).toContain("client: waits for B, held by client (2)");
  });
});
