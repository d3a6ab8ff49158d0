// Compares the explorer with the oracle of its tests on random programs: npm run fuzz:explore -- --seconds 60
import { Progress, readCommand, testModules } from "./lib/command.js";

const USAGE = `Usage: npm run fuzz:explore -- [options]
Explores random programs, and compares what they can end with to a plain enumeration of every interleaving.

  --seconds N   stop after N seconds (default: 60, or no limit with --programs)
  --programs N  stop when N programs have been compared
  --executions N  pass over programs that need more (default: 500)
  --no-foreign  tasks await nothing but what the explorer makes: no promises and no async functions of their own
  --seed S      begin with the program of seed S (default: by lot)

Exit code 0: no difference. 1: differences, with the smallest program that shows each. 2: wrong usage.`;

const command = readCommand("fuzz:explore", USAGE, {
  numbers: ["seconds", "programs", "executions", "seed"],
  flags: ["no-foreign"],
});
const programs = command.number("programs", Infinity);
const seconds = command.number("seconds", programs === Infinity ? 60 : Infinity);
const seed = command.seed();
const maxExecutions = command.number("executions", 500);
const foreign = !command.flag("no-foreign");

const modules = await testModules();
const { campaign, formatFinding } =
  /** @type {typeof import("../packages/explore/test/oracle/campaign.js")} */ (
    await modules.load("packages/explore/test/oracle/campaign.ts")
  );

console.log(`seed ${seed}`);
const begun = performance.now();
const progress = new Progress();
let findings = 0;
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
/** @param {{ compared: number, skipped: number, executions: number }} counts */
const line = ({ compared, skipped, executions }) =>
  `${compared} programs, ${skipped} too large, ${executions} executions, ${findings} differ, ` +
  `${((performance.now() - begun) / 1000).toFixed(0)} s`;
const counts = await campaign({
  ...{ seed, programs, foreign, maxExecutions, signal: stop.signal },
  onProgress(counts) {
    if (performance.now() - begun > seconds * 1000) stop.abort();
    progress.show(() => line(counts));
  },
  onFinding(finding) {
    findings++;
    progress.clear();
    console.log(`\n${formatFinding(finding)}\n`);
  },
});
progress.clear();
console.log(line(counts));
await modules.close();
process.exit(findings > 0 ? 1 : 0);
