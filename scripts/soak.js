// Twenty devices with clients that never stop: npm run soak -- --minutes 30
import { Progress, readCommand, testModules } from "./lib/command.js";

const USAGE = `Usage: npm run soak -- [options]
Serves twenty devices, six of them behind relays that move them about, with random traffic, resets and clients that come
and go. What the processes hold is compared after a warm-up and at the end.

  --minutes N  how long (default: 30)
  --seconds N  the same in seconds
  --seed S     of the traffic (default: by lot)
  --json       print the report as one line of JSON

Exit code 0: all went well, and nothing grew. 1: faults. 2: wrong usage.`;

const command = readCommand("soak", USAGE, { numbers: ["minutes", "seconds", "seed"], flags: ["json"] });
const seconds = command.number("seconds", 60 * command.number("minutes", 30), 10);
const seed = command.seed();
const json = command.flag("json");

const modules = await testModules();
const { soak, formatReport } = /** @type {typeof import("../test/soak/soak.js")} */ (
  await modules.load("test/soak/soak.ts")
);

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
if (!json) console.log(`seed ${seed}`);
const progress = new Progress(60);
const report = await soak({
  ...{ seconds, seed, signal: stop.signal },
  onProgress(counts, elapsed) {
    const { sessions, operations, moves } = counts;
    progress.show(
      () =>
        `${elapsed.toFixed(0)} of ${seconds} s: ${sessions} clients, ${operations} operations, ${moves} moves`,
    );
  },
});
progress.clear();
console.log(json ? JSON.stringify(report) : formatReport(report));
await modules.close();
process.exit(report.faults.length > 0 ? 1 : 0);
