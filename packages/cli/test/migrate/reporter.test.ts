import { describe, expect, it } from "vitest";
import { payload } from "../../src/migrate/reporter.js";
import { duration, parseBytes } from "../../src/shared/units.js";

const MIB = 1024 ** 2;

describe("the progress display", () => {
  it("shows bytes, rate, round, dirty rate and expected downtime", () => {
    expect(
      payload({
        phase: "precopy",
        round: 3,
        bytes: 70 * MIB,
        remaining: 2 * MIB,
        rate_Bps: 100 * MIB,
        dirtyRate_Bps: 10 * MIB,
        expectedDowntime_ms: 20,
      }),
    ).toEqual({
      phase: "precopy",
      moved: "70 MiB",
      rate: "100 MiB/s",
      details: "round 3, dirty 10 MiB/s, expected downtime 20.0 ms",
    });
  });

  it("leaves out what is not known", () => {
    expect(
      payload({
        phase: "stop-copy",
        round: 0,
        bytes: 0,
        remaining: undefined,
        rate_Bps: undefined,
        dirtyRate_Bps: undefined,
        expectedDowntime_ms: undefined,
      }),
    ).toEqual({ phase: "stop-copy", moved: "0 B", rate: "", details: "" });
  });
});

describe("units", () => {
  it.each([
    ["4096", 4096],
    ["512K", 512 * 1024],
    ["64M", 64 * MIB],
    ["1G", 1024 * MIB],
  ])("%s", (text, count) => {
    expect(parseBytes(text)).toBe(count);
  });

  it.each(["", "0", "K", "-1", "1.5M", "1T", "1 M", "0x10"])("%j is no number of bytes", (text) => {
    expect(() => parseBytes(text)).toThrow("must be a number of bytes");
  });

  it.each([
    [0.04, "40 µs"],
    [12.34, "12.3 ms"],
    [345.6, "346 ms"],
    [2345, "2.35 s"],
  ])("%d ms", (ms, text) => {
    expect(duration(ms)).toBe(text);
  });
});
