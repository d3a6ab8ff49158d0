import fc from "fast-check";
import { expect, it } from "vitest";
import { parseTime } from "../src/shared/units.js";

it("a time has a unit, or the one that its option is in", () => {
  expect(parseTime("s")("4")).toBe(4000);
  expect(parseTime("ms")("4")).toBe(4);
  expect(parseTime("s")("500ms")).toBe(500);
  expect(parseTime("ms")("1.5s")).toBe(1500);
  expect(parseTime("s")("2m")).toBe(120_000);
  expect(parseTime("s")("24h")).toBe(86_400_000);
});

it("what is no time is refused, with the rule", () => {
  const rule = "must be a time up to 24h, above 0, as 500ms, 4s, 2m; a number alone is in s.";
  for (const text of ["", "0", "0ms", "-1", "4 s", "1e3", "4S", "25h", "s", "Infinity", "1.s"])
    expect(() => parseTime("s", "above 0")(text)).toThrow(rule);
  expect(parseTime("s")("0")).toBe(0);
});

it("any number of milliseconds up to a day is read in any unit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 86_400 }), (seconds) => {
      expect(parseTime("ms")(`${seconds}s`)).toBe(parseTime("s")(`${seconds * 1000}ms`));
    }),
  );
});
