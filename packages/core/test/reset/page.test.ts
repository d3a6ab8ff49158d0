import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

// docs/resets.md names the tests that show what it says: they are there, by that name.

const root = new URL("../../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const tests = ["every-reset", "lock-cycle", "faults", "function-faults", "hooks", "conversion", "device-set"]
  .concat("open-close", "migration-after-reset")
  .map((name) => read(`packages/core/test/reset/${name}.test.ts`))
  .join("\n");

describe("docs/resets.md", () => {
  const prose = read("docs/resets.md")
    .replaceAll(/```[^]*?```/g, "")
    .replaceAll(/\s+/g, " ");
  const named = [...prose.matchAll(/(?<=[\s(])_([^_`|]+(?:_[^_`|]+)*?)_(?=[\s,;:.)])/g)].map(
    ([, name]) => name!,
  );

  it("names tests", () => {
    expect(named.length).toBeGreaterThan(20);
  });

  it.each(named)("%s", (name) => {
    expect(tests.replaceAll(/\s+/g, " ")).toContain(name);
  });
});
