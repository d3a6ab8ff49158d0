import { choose, designs, invariantNames, replayCounterexample, reportModel, runLab } from "@vfiokit/lab";
import { lockdep } from "@vfiokit/lockdep";
import { afterEach, describe, expect, it } from "vitest";
import { observeLocks } from "../../src/report/lock-graph.js";

afterEach(() => lockdep.reset());

const design = (name: string) => designs.find((each) => each.name === name)!;

describe("the locks of a design", () => {
  it.each(["locked", "callback", "release"])("%s: the cycle of four of lockdep's report", async (name) => {
    const { graph } = await observeLocks(design(name));
    expect(graph.cycle).toEqual(["stateMutex", "session.lock", "mmapLock", "memoryLock", "stateMutex"]);
    const inCycle = graph.orders.filter((order) => order.inCycle).map(({ from, to }) => `${from} ${to}`);
    expect(inCycle.sort()).toEqual([
      "memoryLock stateMutex",
      "mmapLock memoryLock",
      "session.lock mmapLock",
      "stateMutex session.lock",
    ]);
  });

  it("generation: the core's order, and no way back", async () => {
    const { graph, problems } = await observeLocks(design("generation"));
    expect(problems).toEqual([]);
    expect(graph.cycle).toEqual([]);
    const pairs = graph.orders.map(({ from, to }) => `${from} ${to}`);
    expect(pairs).toContain("stateMutex session.lock");
    for (const { from, to } of graph.orders) expect(pairs).not.toContain(`${to} ${from}`);
    expect(graph.locks).toContain("memoryLock");
  });

  it("names who showed an order first", async () => {
    const { graph } = await observeLocks(design("generation"));
    expect(graph.orders).toContainEqual({
      from: "mmapLock",
      to: "memoryLock",
      task: "map-bar",
      inCycle: false,
    });
  });
});

describe("the model of a report", () => {
  it("has the graph of each design that was run, and a story for each failing cell", async () => {
    const report = await runLab({
      designs: [design("callback"), design("generation")],
      scenarios: choose("ioctl/fails/one/read"),
    });
    const model = await reportModel(report, { executions: 5 });
    expect(model.designs.map(({ name }) => name)).toEqual(["callback", "generation"]);
    expect(model.bounds).toEqual({ executions: 5 });
    const failing = invariantNames.filter((name) => report.matrix["callback"]![name]?.verdict === "fail");
    expect(failing).toContain("no-cycle");
    expect(model.stories.map(({ design, invariant }) => `${design} ${invariant}`)).toEqual(
      failing.map((invariant) => `callback ${invariant}`),
    );
    for (const { counterexample, lines, deduced } of model.stories) {
      expect(deduced).toBe(counterexample.endsWith("@warm-up"));
      if (!deduced) expect(lines).toEqual((await replayCounterexample(counterexample)).lines);
    }
  });

  it("acts out an order of locks that showed when nobody met anybody", async () => {
    const report = await runLab({
      designs: [design("locked")],
      scenarios: choose("ioctl/fails/one/read"),
    });
    const { stories } = await reportModel(report);
    const { lines } = stories.find(({ invariant }) => invariant === "no-cycle")!;
    expect(lines.map(({ task }) => task)).toContain("VFIO_DEVICE_RESET");
    expect(lines.at(-1)!.text).toMatch(/^a circle of waits: .*VFIO_DEVICE_RESET waits for stateMutex/);
  });

  it("is plain data", async () => {
    const report = await runLab({ designs: [design("callback")], scenarios: choose("ioctl/fails/one/read") });
    const model = await reportModel(report);
    expect(JSON.parse(JSON.stringify(model))).toEqual(model);
  });
});
