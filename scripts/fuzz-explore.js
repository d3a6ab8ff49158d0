// Compares the explorer with the oracle of its tests on random programs: npm run fuzz:explore -- --seconds 60
import { parseArgs } from "node:util";
import { createServer } from "vite";

const USAGE = `Usage: npm run fuzz:explore -- [options]
Explores random programs, and compares what they can end with to a plain enumeration of every interleaving.

  --seconds N   stop after N seconds (default: 60, or no limit with --programs)
  --programs N  stop when N programs have been compared
  --executions N  pass over programs that need more (default: 500)
  --no-foreign  tasks await nothing but what the explorer makes: no promises and no async functions of their own
  --seed S      begin with the program of seed S (default: by lot)

Exit code 0: no difference. 1: differences, with the smallest program that shows each. 2: wrong usage.`;

/** @param {string} message */
function refuse(message) {
  console.error(`fuzz:explore: ${message}\n\n${USAGE}`);
  process.exit(2);
}

/** @returns {{ seconds: number, programs: number, seed: number, foreign: boolean, maxExecutions: number } | undefined} */
function readOptions() {
  const text = { type: /** @type {const} */ ("string") };
  const options = {
    seconds: text,
    programs: text,
    seed: text,
    executions: text,
    "no-foreign": { type: /** @type {const} */ ("boolean") },
    help: { type: /** @type {const} */ ("boolean") },
  };
  const { values } = parseArgs({ options });
  if (values.help) return undefined;
  /** @param {"seconds" | "programs" | "seed" | "executions"} name @param {number} otherwise @param {number} least */
  const number = (name, otherwise, least) => {
    const value = values[name];
    if (value === undefined) return otherwise;
    if (!/^\d{1,9}$/.test(value) || Number(value) < least)
      throw new Error(`--${name} ${value}: a whole number from ${least} up is needed`);
    return Number(value);
  };
  const programs = number("programs", Infinity, 1);
  return {
    programs,
    seconds: number("seconds", programs === Infinity ? 60 : Infinity, 1),
    seed: number("seed", Math.floor(Math.random() * 1e9), 0),
    maxExecutions: number("executions", 500, 1),
    foreign: !values["no-foreign"],
  };
}

let options;
try {
  options = readOptions();
} catch (error) {
  refuse(error instanceof Error ? error.message : String(error));
}
if (!options) {
  console.log(USAGE);
  process.exit(0);
}
const { seconds, programs, seed, foreign, maxExecutions } = options;
const server = await createServer({
  configFile: "vitest.config.ts",
  server: { middlewareMode: true, watch: null, ws: false },
  optimizeDeps: { noDiscovery: true },
  logLevel: "error",
  appType: "custom",
});
/** @type {typeof import("../packages/explore/test/oracle/campaign.js")} */
const { campaign, formatFinding } = /** @type {any} */ (
  await server.ssrLoadModule("/packages/explore/test/oracle/campaign.ts")
);

console.log(`seed ${seed}`);
const begun = performance.now();
let findings = 0;
let shown = 0;
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
/** @param {{ compared: number, skipped: number, executions: number }} counts */
const line = ({ compared, skipped, executions }) =>
  `${compared} programs, ${skipped} too large, ${executions} executions, ${findings} differ, ` +
  `${((performance.now() - begun) / 1000).toFixed(0)} s`;
const clear = process.stderr.isTTY ? "\r\x1b[K" : "";
const counts = await campaign({
  ...{ seed, programs, foreign, maxExecutions, signal: stop.signal },
  onProgress(counts) {
    const now = performance.now();
    if (now - begun > seconds * 1000) stop.abort();
    if (now - shown < (process.stderr.isTTY ? 200 : 10_000)) return;
    shown = now;
    process.stderr.write(`${clear}${line(counts)}${clear ? "" : "\n"}`);
  },
  onFinding(finding) {
    findings++;
    process.stderr.write(clear);
    console.log(`\n${formatFinding(finding)}\n`);
  },
});
process.stderr.write(clear);
console.log(line(counts));
await server.close();
process.exit(findings > 0 ? 1 : 0);
