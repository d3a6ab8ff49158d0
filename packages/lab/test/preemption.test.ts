import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";

const folder = new URL("../src/designs/", import.meta.url);

/** What the kernel's tasks share: wherever it is touched, another task could have run just before. */
const touches = [
  /\bwanted\.value\b/,
  /\.(resetRecord|endSession)\(/,
  /\.tryLock\(/,
  /\bmigration\.state\b/,
  /\bdevice\.generation\b/,
];
/** A scheduling point, after which nothing of another task can come before the next line. */
const point = /^\s*await (preempt|lock)\(/;

/** Lines of code that touch what is shared, without a scheduling point in the line of code before. */
function unmarked(text: string): string[] {
  const lines = text.split("\n").filter((line) => !/^\s*(\/\/|\/?\*|try \{|$)/.test(line));
  return lines.filter(
    (line, i) => touches.some((touch) => touch.test(line)) && !point.test(lines[i - 1] ?? ""),
  );
}

describe("the kernel's designs are preemptive", () => {
  // The core's own design is JavaScript, and what lies between two awaits is one step.
  const files = readdirSync(folder).filter((name) => !["generation.ts", "index.ts"].includes(name));

  it.each(files)("%s marks a preemption point before each access to what is shared", (name) => {
    expect(unmarked(readFileSync(new URL(name, folder), "utf8"))).toEqual([]);
  });

  it("and the check sees a missing mark", () => {
    expect(unmarked("  await preempt(task);\n  wanted.value = true;\n  wanted.value = false;")).toEqual([
      "  wanted.value = false;",
    ]);
    expect(unmarked("  foo();\n  if (migration.stateMutex.tryLock(task)) return;")).toHaveLength(1);
  });
});
