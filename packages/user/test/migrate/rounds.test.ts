import { describe, expect, it } from "vitest";
import { MigrationFlags } from "@vfiokit/core/migration";
import { migrate, type MigrateClock, type MigrateOptions } from "@vfiokit/user";
import { fakeEnds, type FakeSource } from "./fakes.js";
import { FakeClock, recorder, usual } from "./support.js";

const CHUNK = 1024;

/** A device of 100 chunks; each takes 10 ms to be sent, so the rate is 100 KiB/s. */
async function migrated(
  options: Partial<MigrateOptions>,
  setUp: (source: FakeSource) => void = () => undefined,
) {
  const { source, target } = fakeEnds();
  const clock = new FakeClock();
  source.initial = 100;
  source.chunkSize = CHUNK;
  source.clock = { of: clock, msPerChunk: 10 };
  setUp(source);
  const seen = recorder();
  const result = await migrate(source, target, { ...usual, clock, ...options }, seen.onEvent);
  return { source, target, clock, result, ...seen };
}

/** One chunk changes for every `sent` that are sent. */
const oneIn = (count: number) => (source: FakeSource) => {
  source.dirtied = (sent) => (sent % count === 0 ? 1 : 0);
};

describe("pre-copy rounds", () => {
  it("a device that changes nothing: one round, and it stops for its last bytes", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 0 });
    expect(result).toMatchObject({ rounds: 1, precopyEnd: "converged" });
    expect(result.stopCopyBytes).toBeLessThan(CHUNK);
    expect(of("warning")).toEqual([]);
  });

  it("each round sends what changed in the one before, until the rest is small enough", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 20 }, oneIn(10));
    expect(result.precopyEnd).toBe("converged");
    // 101 chunks, as two are read at a time; of the ten that have changed nine are left, and then none.
    expect(of("round").map(({ round, remaining }) => [round, remaining! / CHUNK])).toEqual([
      [1, 9],
      [2, 0],
    ]);
    expect(of("round").map(({ expectedDowntime_ms }) => expectedDowntime_ms)).toEqual([90, 0]);
  });

  it("the rates are those that were measured", async () => {
    const { of } = await migrated({ maxDowntime_ms: 20 }, oneIn(10));
    const { rate_Bps, dirtyRate_Bps } = of("round")[0]!;
    expect(rate_Bps).toBe(100 * CHUNK);
    expect(dirtyRate_Bps).toBeCloseTo((10 * CHUNK) / 1.01);
  });

  it("progress is told a few times a second, with what is left of the round", async () => {
    const { of } = await migrated({});
    // 100 chunks in a second.
    expect(of("progress").map(({ bytes, remaining }) => [bytes / CHUNK, remaining! / CHUNK])).toEqual([
      [1, 99],
      [21, 79],
      [41, 59],
      [61, 39],
      [81, 19],
    ]);
  });

  it("a rate that varies: the slower of it is what a stop is expected to have", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 120 }, (source) => {
      oneIn(10)(source);
      const read = source.read.bind(source);
      let count = 0;
      source.read = () => {
        source.clock = { ...source.clock!, msPerChunk: count++ % 2 === 0 ? 5 : 15 };
        return read();
      };
    });
    const { remaining, rate_Bps, expectedDowntime_ms } = of("round")[0]!;
    const usual = (remaining! / rate_Bps!) * 1000;
    expect(expectedDowntime_ms! / usual).toBeGreaterThan(1.3);
    // By the mean alone it would have been stopped after the first round, and taken longer than that.
    expect(usual).toBeLessThan(120);
    expect(result).toMatchObject({ rounds: 2, precopyEnd: "converged" });
    expect(result.expectedDowntime_ms).toBeLessThanOrEqual(120);
    expect(result.downtime_ms).toBeLessThanOrEqual(120);
  });

  it("a stop that takes longer than was promised says so, with what was expected", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 100 }, (source) => {
      oneIn(10)(source);
      const read = source.read.bind(source);
      source.read = () => {
        if (source.state === "STOP_COPY") source.clock = { ...source.clock!, msPerChunk: 50 };
        return read();
      };
    });
    expect(result).toMatchObject({ precopyEnd: "converged", expectedDowntime_ms: 90 });
    expect(result.downtime_ms).toBeGreaterThan(400);
    expect(of("warning").map(({ message }) => message)).toEqual([
      `the downtime was ${result.downtime_ms.toFixed(1)} ms, more than --max-downtime 100 ms: 90.0 ms was expected`,
    ]);
  });

  it("a generous limit: the first round is the last", async () => {
    const { result } = await migrated({ maxDowntime_ms: 100 }, oneIn(10));
    expect(result).toMatchObject({ rounds: 1, precopyEnd: "converged" });
    expect(result.stopCopyBytes).toBe(9 * CHUNK + "end:the guest's".length);
  });

  it("a device that changes as fast as it is sent: after --max-rounds it is stopped, with a warning", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 20, maxRounds: 4 }, oneIn(1));
    expect(result).toMatchObject({ rounds: 4, precopyEnd: "rounds" });
    expect(of("warning").map(({ message }) => message)).toEqual([
      "pre-copy has ended without reaching --max-downtime 20 ms: 1000 ms is expected",
    ]);
  });

  it("a device of which nothing more can be sent while it runs: no more rounds", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 0, maxRounds: 1000 }, (source) => {
      source.dataSize = () => Promise.resolve(50 * CHUNK);
    });
    expect(result).toMatchObject({ precopyEnd: "nothing-left", rounds: 2 });
    expect(of("warning")[0]!.message).toMatch(/: 500 ms is expected$/);
  });

  it("a state of a few kilobytes is not expected to take a second, by the time that its first bytes took", async () => {
    const { result, of } = await migrated({ maxDowntime_ms: 300 }, (source) => {
      source.initial = 1;
      source.chunkSize = 100;
      source.dataSize = () => Promise.resolve(4096);
    });
    expect(result).toMatchObject({ rounds: 2, precopyEnd: "nothing-left" });
    expect(of("round")[0]).toMatchObject({ rate_Bps: undefined, expectedDowntime_ms: undefined });
    expect(of("warning")).toEqual([]);
  });

  it("a server that does not tell how much is dirty: the estimate is its data size", async () => {
    const { result } = await migrated({ maxDowntime_ms: 20 }, (source) => {
      oneIn(10)(source);
      source.tells = false;
      const dataSize = source.dataSize.bind(source);
      // Which is never 0: there is always an end.
      source.dataSize = async () => (await dataSize()) + 1;
    });
    expect(result).toMatchObject({ rounds: 2, precopyEnd: "converged" });
  });

  it("a server that tells nothing at all: one round, to the end of what there is", async () => {
    const { result, source, of } = await migrated({ maxDowntime_ms: 0 }, (one) => {
      oneIn(10)(one);
      one.tells = false;
      one.dataSize = () => Promise.resolve(0);
    });
    expect(result).toMatchObject({ rounds: 1, precopyEnd: "nothing-left" });
    expect(of("round")[0]).toMatchObject({ remaining: undefined, expectedDowntime_ms: undefined });
    expect(of("warning")[0]!.message).toMatch(/: an unknown time is expected$/);
    // All that had changed by the end of the round went with it.
    expect(result.stopCopyBytes).toBeLessThan(CHUNK);
    expect(source.dirty).toBe(0);
  });

  it.each([
    ["--max-rounds 0", { maxRounds: 0 }, () => undefined],
    [
      "a source without PRE_COPY",
      {},
      (source: FakeSource) => {
        source.flags = MigrationFlags.STOP_COPY;
      },
    ],
  ])("none: %s", async (_, options, setUp) => {
    const { result, source } = await migrated(options, setUp);
    expect(result).toMatchObject({ rounds: 0, precopyEnd: "none" });
    expect(result.bytes).toBe(result.stopCopyBytes);
    expect(source.calls).not.toContain("setState PRE_COPY");
  });

  it("all bytes arrive, and are counted", async () => {
    const { result, target } = await migrated({}, oneIn(3));
    expect(target.received).toBe(result.bytes);
  });

  it("the downtime is from the stop until the target runs", async () => {
    const { result } = await migrated({ maxRounds: 0 });
    expect(result.downtime_ms).toBe(100 * 10);
    const { result: withRounds } = await migrated({ maxDowntime_ms: 0 });
    expect(withRounds.downtime_ms).toBe(0);
    expect(withRounds.total_ms).toBe(100 * 10);
  });
});

describe("the bandwidth limit", () => {
  const limited = (bandwidth_Bps: number) =>
    migrated({ bandwidth_Bps, maxDowntime_ms: 0 }, (source) => {
      source.clock = undefined;
    });

  it("what is sent takes the time that it must, up to one chunk", async () => {
    const { result, clock } = await limited(10 * CHUNK);
    const needed = (result.bytes / (10 * CHUNK)) * 1000;
    expect(clock.now()).toBeLessThanOrEqual(needed);
    expect(clock.now()).toBeGreaterThanOrEqual(needed - 100);
  });

  it("it is in the measured rate, and so in what a stop is expected to cost", async () => {
    const { of } = await limited(10 * CHUNK);
    expect(of("round")[0]!.rate_Bps! / (10 * CHUNK)).toBeCloseTo(1, 1);
  });

  it("no limit: no wait", async () => {
    const { clock } = await migrated({});
    expect(clock.sleeps).toEqual([]);
  });

  it("cancelling does not wait for it", async () => {
    const { source, target } = fakeEnds();
    const abort = new AbortController();
    const clock: MigrateClock = {
      now: () => 0,
      sleep: (_ms, signal) =>
        new Promise((_resolve, reject) => {
          signal!.addEventListener("abort", () => reject(new Error("aborted")));
          abort.abort();
        }),
    };
    const failure = migrate(source, target, { ...usual, clock, bandwidth_Bps: 1, signal: abort.signal });
    await expect(failure).rejects.toMatchObject({ code: "ECANCELED", runs: "source", phase: "precopy" });
    expect(source.runs).toBe(true);
  });
});

describe("restarts", () => {
  it("after a reset the image is begun again, under another id", async () => {
    let resets = 0;
    const { source, target } = fakeEnds((_, end, name) =>
      end === "source" && name === "read" && resets++ === 3 ? "reset-before" : undefined,
    );
    const seen = recorder();
    const result = await migrate(source, target, usual, seen.onEvent);
    expect(result).toMatchObject({ restarts: 1, rounds: 1 });
    expect(seen.of("restart")).toEqual([
      { event: "restart", restarts: 1, reason: "source: the session has ended" },
    ]);
    expect(target.content).toBe("power-on 1");
    expect(target.activated).not.toBe(seen.of("check")[0]!.id);
  });

  it("not without end: after the last one the source runs on", async () => {
    const { source, target } = fakeEnds((_, end, name) =>
      end === "source" && name === "read" ? "reset-before" : undefined,
    );
    const failure = migrate(source, target, { ...usual, maxRestarts: 2 });
    await expect(failure).rejects.toMatchObject({
      runs: "source",
      message: "ENODEV: precopy: source: the session has ended; source runs on",
    });
    expect(source.calls.filter((call) => call === "setState PRE_COPY")).toHaveLength(3);
    expect([source.state, target.state]).toEqual(["RUNNING", "RUNNING"]);
  });
});

describe("hooks", () => {
  it("the device is held before it stops, and let go when it runs again", async () => {
    const calls: string[] = [];
    let resets = 0;
    const { source, target } = fakeEnds((_, end, name) =>
      end === "target" && name === "prepare" && resets++ === 0 ? "reset-before" : undefined,
    );
    await migrate(source, target, {
      ...usual,
      hooks: {
        beforeStop: () => void calls.push(`hold ${source.state}`),
        afterResume: () => void calls.push(`release ${source.state}`),
        afterActivate: () => void calls.push(`moved ${target.state}`),
      },
    });
    expect(calls).toEqual(["hold PRE_COPY", "release RUNNING", "hold PRE_COPY", "moved RUNNING"]);
  });

  it("one that throws makes the migration fail, with the source running", async () => {
    const { source, target } = fakeEnds();
    const beforeStop = () => Promise.reject(new Error("the client does not answer"));
    await expect(migrate(source, target, { ...usual, hooks: { beforeStop } })).rejects.toMatchObject({
      code: "EIO",
      phase: "stop",
      runs: "source",
      message: "EIO: stop: the client does not answer; source runs on",
    });
    expect([source.state, target.state]).toEqual(["RUNNING", "RUNNING"]);
  });
});

describe("what does not fit is refused before anything is touched", () => {
  const refused = async (setUp: (ends: ReturnType<typeof fakeEnds>) => void) => {
    const ends = fakeEnds();
    setUp(ends);
    const error: unknown = await migrate(ends.source, ends.target, usual).catch((thrown: unknown) => thrown);
    expect([...ends.source.calls, ...ends.target.calls]).toEqual(["describe", "describe"]);
    return (error as Error).message;
  };

  it.each([
    ["vendor", 0x8086, /vendor is 1b36 at source and 8086 at target/],
    ["device", 7, /device is 0103 at source and 0007 at target/],
    ["subsystemVendor", 7, /subsystem vendor is 1af4 at source and 0007 at target/],
    ["subsystemDevice", 7, /subsystem device is 1100 at source and 0007 at target/],
    ["classCode", 0x020000, /class is 058000 at source and 020000 at target/],
    ["revision", 0x10, /revision is 01 at source and 10 at target/],
  ] as const)("%s", async (field, value, message) => {
    expect(await refused(({ target }) => (target.identity = { ...target.identity, [field]: value }))).toMatch(
      message,
    );
  });

  const section = (name: string, version: number, size?: number) => ({
    name,
    version,
    optional: false,
    ...(size !== undefined && { size }),
  });

  it.each([
    [
      "a newer format",
      { format: 3, sections: [] },
      /^EINVAL: the stream's format is 3 at source and 2 at target$/,
    ],
    [
      "memory of another size",
      { format: 2, sections: [section("memory", 1, 8192)] },
      /^EINVAL: section memory is 8192 bytes at source and 4096 bytes at target$/,
    ],
    [
      "memory that the target does not have",
      { format: 2, sections: [section("more", 1, 8192)] },
      /^EINVAL: section more is 8192 bytes at source and unknown at target$/,
    ],
  ])("a stream that the target does not take: %s", async (_, stream, message) => {
    const refusal = await refused(({ source, target }) => {
      source.stream = stream;
      target.stream = { format: 2, sections: [section("memory", 1, 4096)] };
    });
    expect(refusal).toMatch(message);
  });

  it("sections that may be refused, depending on their values: a warning", async () => {
    const { source, target } = fakeEnds();
    source.stream = { format: 2, sections: [section("fifo", 3), section("lines", 1), section("same", 1)] };
    target.stream = { format: 2, sections: [section("fifo", 2), section("same", 2)] };
    const seen = recorder();
    await migrate(source, target, { ...usual, dryRun: true }, seen.onEvent);
    expect(seen.of("warning").map(({ message }) => message)).toEqual([
      "section fifo is version 3 at source and version 2 at target: it is refused if it holds what is new",
      "section lines is version 1 at source and unknown at target: it is refused if it holds what is new",
    ]);
  });

  it("a device that cannot be migrated", async () => {
    expect(await refused(({ target }) => (target.flags = 0))).toBe(
      "EOPNOTSUPP: target: the device cannot be migrated (no STOP_COPY)",
    );
  });

  it.each([
    ["ERROR", "reset it first"],
    ["STOP", "recover or end the earlier migration first"],
  ] as const)("a device in %s", async (state, advice) => {
    expect(await refused(({ source }) => (source.state = state))).toBe(
      `EBUSY: source: the device is in ${state}, not RUNNING: ${advice}`,
    );
  });
});
