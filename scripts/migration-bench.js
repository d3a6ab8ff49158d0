// Runs the benchmark of migration, which takes some minutes, and writes its table into docs/migration.md.
//
//   npm run build && node scripts/migration-bench.js
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { format, resolveConfig } from "prettier";
import { run } from "../bench/migration.js";

const file = fileURLToPath(new URL("../docs/migration.md", import.meta.url));
const [START, END] = ["<!-- bench:begin -->", "<!-- bench:end -->"];

const page = readFileSync(file, "utf8");
const [from, to] = [page.indexOf(START), page.indexOf(END)];
if (from < 0 || to < from) throw new Error(`docs/migration.md has no ${START} … ${END}`);

const rows = await run();
/** @param {number} value @param {string} unit */
const amount = (value, unit) => `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${unit}`;
const text = `${START}

| | ours | baseline | ratio |
| --- | --- | --- | --- |
${rows
  .map(
    ({ what, ours, baseline, ratio, unit }) =>
      `| ${what} | ${amount(ours, unit)} | ${amount(baseline, unit)} | ${ratio.toFixed(2)} |`,
  )
  .join("\n")}

Node ${process.version} on ${cpus().length} CPUs.

`;
const next = await format(page.slice(0, from) + text + page.slice(to), {
  ...(await resolveConfig(file)),
  filepath: file,
});
writeFileSync(file, next);
