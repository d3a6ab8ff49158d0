import { describe, expect, it } from "vitest";
import { locksAfter, standsAfter, swimLanes } from "../../src/report/lanes.js";
import type { CounterexampleLine } from "../../src/counterexample.js";

const does = (task: string, what: "takes" | "waits" | "releases", lock: string): CounterexampleLine => ({
  task,
  text: `${what} ${lock}`,
  lock: { what, lock, mode: "exclusive" },
});
const says = (task: string, text: string): CounterexampleLine => ({ task, text });

describe("swim lanes", () => {
  it("have a lane a task, in the order in which they come, and none for what nobody does", () => {
    const { tasks, locks } = swimLanes([
      does("b", "takes", "X"),
      does("a", "takes", "Y"),
      does("b", "releases", "X"),
      says("", "the end"),
    ]);
    expect(tasks).toEqual(["b", "a"]);
    expect(locks).toEqual(["X", "Y"]);
  });

  it("draw a lock from the step that takes it to the step that releases it", () => {
    const lanes = swimLanes([
      does("a", "takes", "X"),
      says("a", "works"),
      does("a", "releases", "X"),
      says("a", "done"),
    ]);
    expect(lanes.bars).toEqual([
      { kind: "hold", task: 0, lock: 0, mode: "exclusive", from: 0, to: 2, open: false, track: 0 },
    ]);
    // The step that releases it shows the end of the bar, and when it is done the lock is free.
    expect([0, 1, 2, 3].map((step) => standsAfter(lanes.bars[0]!, step))).toEqual([true, true, false, false]);
  });

  it("draw a wait up to the step before the waiter's next one, on the track of what it waited for", () => {
    const lanes = swimLanes([
      does("a", "takes", "X"),
      does("b", "takes", "Y"),
      does("b", "waits", "X"),
      says("a", "works"),
      does("a", "releases", "X"),
      does("b", "takes", "X"),
    ]);
    const wait = lanes.bars.find(({ kind }) => kind === "wait")!;
    expect(wait).toMatchObject({ task: 1, from: 2, to: 4, open: false, track: 1 });
    expect(lanes.bars.at(-1)).toMatchObject({ kind: "hold", task: 1, from: 5, track: 1 });
    expect(lanes.tracks).toEqual([1, 2]);
  });

  it("end a wait that was given up, whatever the waiter does next", () => {
    const { bars } = swimLanes([
      does("a", "takes", "X"),
      does("b", "waits", "X"),
      says("b", "is cancelled"),
      says("a", "done"),
    ]);
    expect(bars[1]).toMatchObject({ kind: "wait", from: 1, to: 1, open: false });
  });

  it("leave open what has not ended when the counterexample does", () => {
    const lanes = swimLanes([does("a", "takes", "X"), does("b", "waits", "X"), says("", "deadlock")]);
    expect(lanes.bars.map(({ open, to }) => ({ open, to }))).toEqual([
      { open: true, to: 2 },
      { open: true, to: 2 },
    ]);
    expect(locksAfter(lanes, 2)).toEqual(["a: holds X", "b: waits for X"]);
  });

  it("let the last hold of a lock go first, and give a free track to the next lock", () => {
    const { bars } = swimLanes([
      does("a", "takes", "X"),
      does("a", "takes", "X"),
      does("a", "releases", "X"),
      does("a", "takes", "Y"),
    ]);
    expect(bars.map(({ from, to, open, track }) => [from, to, open, track])).toEqual([
      [0, 3, true, 0],
      [1, 2, false, 1],
      [3, 3, true, 1],
    ]);
  });

  it("tell after each step who holds what, and how", () => {
    const lines: CounterexampleLine[] = [
      { task: "a", text: "", lock: { what: "takes", lock: "memoryLock", mode: "read" } },
      { task: "a", text: "", lock: { what: "takes", lock: "mmapLock", mode: "write" } },
      { task: "b", text: "", lock: { what: "waits", lock: "memoryLock", mode: "write" } },
      { task: "a", text: "", lock: { what: "releases", lock: "memoryLock", mode: "read" } },
    ];
    const lanes = swimLanes(lines);
    expect(lines.map((_, step) => locksAfter(lanes, step))).toEqual([
      ["a: holds memoryLock (reading)", "b: holds nothing"],
      ["a: holds memoryLock (reading), mmapLock (writing)", "b: holds nothing"],
      ["a: holds memoryLock (reading), mmapLock (writing)", "b: waits for memoryLock (writing)"],
      ["a: holds mmapLock (writing)", "b: waits for memoryLock (writing)"],
    ]);
  });
});
