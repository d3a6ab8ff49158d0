import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CLASSICS } from "./programs.js";
import { exploreIt, fastCheckIt, type Classic } from "./world.js";

const README = new URL("../../README.md", import.meta.url);
const BETWEEN_MARKERS = /(<!-- classics -->\n\n)[^]*?(\n\n<!-- \/classics -->)/;
const SEEDS = 20;
const MAX_RUNS = 10_000;

interface Row {
  readonly bug: string;
  readonly found: number;
  readonly all: string;
  readonly runs: string;
}

async function row({ name, program, mended }: Classic): Promise<Row> {
  const found = await exploreIt(program);
  expect(found.verdict, name).toBe("failed");
  const proof = await exploreIt(mended);
  expect(proof.verdict, `${name}, mended`).toBe("proved");
  expect(proof).toMatchObject({ exhausted: true, failures: [] });
  const runs: number[] = [];
  for (let seed = 1; seed <= SEEDS; seed++)
    runs.push((await fastCheckIt(program, seed, MAX_RUNS)) ?? Infinity);
  expect(await fastCheckIt(mended, 1, 100), `${name}, mended`).toBeUndefined();
  runs.sort((a, b) => a - b);
  return {
    bug: name,
    found: found.executions,
    all: `${proof.executions} executions`,
    runs: `${runs[0]!} to ${runs.at(-1)!}, median ${runs[SEEDS / 2]!}`,
  };
}

/** As prettier formats it. */
function table(rows: readonly Row[]): string {
  const cells = [
    ["Bug", "found by explore in execution", "mended: proved by", "found by fast-check in run (20 seeds)"],
    ...rows.map(({ bug, found, all, runs }) => [bug, `${found}`, all, runs]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)));
  const lines = cells.map((line) => `| ${line.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`);
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

describe("classic bugs of concurrent code", () => {
  it(
    "are found exhaustively, and proved absent once mended; the README has the counts",
    { timeout: 60_000 },
    async () => {
      const rows: Row[] = [];
      for (const classic of CLASSICS) rows.push(await row(classic));
      console.log(table(rows));
      const readme = readFileSync(README, "utf8");
      const expected = readme.replace(BETWEEN_MARKERS, `$1${table(rows)}$2`);
      expect(expected).toContain(table(rows));
      if (process.env["UPDATE_README"] === "1") writeFileSync(README, expected);
      else expect(readme, "UPDATE_README=1 writes the table").toBe(expected);
    },
  );
});
