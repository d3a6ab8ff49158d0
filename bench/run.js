/**
 * npm run bench [NAME…] [-- --json FILE]
 *
 * Runs every module of this folder that exports `name` and `run()`, or those named, and prints what `run` returns.
 * "ours" and "baseline" were measured in turns, and "ratio" is the one to look at: below 1, ours is better.
 */
import { readdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({ options: { json: { type: "string" } }, allowPositionals: true });

/** @typedef {{ name: string, run: () => Promise<import("./lib/measure.js").Row[] | string> }} Bench */

/** @type {Record<string, import("./lib/measure.js").Row[] | string>} */
const results = {};
const files = readdirSync(new URL(".", import.meta.url)).filter((f) => f.endsWith(".js") && f !== "run.js");
for (const file of files.sort()) {
  /** @type {unknown} */
  const imported = await import(new URL(file, import.meta.url).href);
  const module = /** @type {Bench} */ (imported);
  if (positionals.length > 0 && !positionals.includes(module.name)) continue;
  const result = await module.run();
  results[module.name] = result;
  print(module.name, result);
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, undefined, 2)}\n`);

/** @param {string} name @param {import("./lib/measure.js").Row[] | string} result */
function print(name, result) {
  console.log(`\n${name}${typeof result === "string" ? `: ${result}` : ""}`);
  if (typeof result === "string") return;
  console.log(line("", "ours", "baseline", "ratio"));
  for (const { what, ours, baseline, ratio, unit } of result)
    console.log(line(what, amount(ours, unit), amount(baseline, unit), ratio.toFixed(2)));
}

/** @param {string} what @param {string[]} cells */
function line(what, ...cells) {
  return `  ${what.padEnd(40)}${cells.map((cell) => cell.padStart(12)).join("")}`;
}

/** @param {number} value @param {string} unit */
function amount(value, unit) {
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${unit}`;
}
