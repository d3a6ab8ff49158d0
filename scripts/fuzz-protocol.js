// Plays random vfio-user sessions against our servers and the relay: npm run fuzz:protocol -- --seconds 60
import { Progress, readCommand, testModules } from "./lib/command.js";

const USAGE = `Usage: npm run fuzz:protocol -- [options]
Plays sessions of a vfio-user client, most of them damaged, against servers in processes of their own, and looks at the
answers, at what is left behind, and at a second device in the same process.

  --server KIND   serial, counter, memory-card or relay; repeatable (default: all, one after the other)
  --seconds N     stop after N seconds for each server (default: 60, or no limit with --sessions or --messages)
  --sessions N    stop when N sessions have been played, for each server
  --messages N    stop when N messages have been sent, for each server
  --seed S        begin with the session of seed S (default: by lot)
  --json          print the result as one line of JSON for each server

Exit code 0: nothing was found. 1: findings, with the session that shows each. 2: wrong usage.`;

const command = readCommand("fuzz:protocol", USAGE, {
  numbers: ["seconds", "sessions", "messages", "seed"],
  flags: ["json"],
  lists: ["server"],
});
const sessions = command.number("sessions", Infinity);
const messages = command.number("messages", Infinity);
const seconds = command.number("seconds", sessions === Infinity && messages === Infinity ? 60 : Infinity);
const seed = command.seed();
const json = command.flag("json");

const modules = await testModules();
const { campaign, formatFault } = /** @type {typeof import("../test/fuzz/campaign.js")} */ (
  await modules.load("test/fuzz/campaign.ts")
);
const { serverKinds } = /** @type {typeof import("../test/fuzz/target.js")} */ (
  await modules.load("test/fuzz/target.ts")
);

const kinds = (command.list("server") ?? serverKinds).map(
  (name) =>
    serverKinds.find((one) => one === name) ??
    command.refuse(`--server ${name}: one of ${serverKinds.join(", ")}`),
);
const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
if (!json) console.log(`seed ${seed}`);

let findings = 0;
for (const server of kinds) {
  const begun = performance.now();
  const progress = new Progress();
  let found = 0;
  const stop = new AbortController();
  const took = () => Math.round((performance.now() - begun) / 1000);
  /** @param {import("../test/fuzz/campaign.js").Counts} counts */
  const line = (counts) =>
    `${server}: ${counts.sessions} sessions, ${counts.messages} messages, ${counts.answers} answers ` +
    `(${counts.refused} errors), ${counts.dma} DMA messages, longest wait ${counts.longest.toFixed(0)} ms, ` +
    `${found} findings, ${took()} s`;
  const { counts, held } = await campaign({
    ...{ server, seed, sessions, messages, signal: AbortSignal.any([stop.signal, interrupted.signal]) },
    onProgress(counts) {
      if (performance.now() - begun > seconds * 1000) stop.abort();
      progress.show(() => line(counts));
    },
    onFault(fault) {
      found++;
      progress.clear();
      console.log(`\n${formatFault(fault)}\n`);
    },
  });
  progress.clear();
  if (json) console.log(JSON.stringify({ server, seed, seconds: took(), findings: found, ...counts, held }));
  else {
    console.log(line(counts));
    const mib = (/** @type {number} */ bytes) => (bytes / 2 ** 20).toFixed(1);
    if (held)
      console.log(
        `  from session 150 to the end: memory in use ${mib(held.first.heap)} to ${mib(held.last.heap)} MiB, ` +
          `resident ${mib(held.first.rss)} to ${mib(held.last.rss)} MiB, maps ${held.first.maps} to ${held.last.maps}, ` +
          `own descriptors ${held.first.fds} to ${held.last.fds}`,
      );
  }
  findings += found;
  if (interrupted.signal.aborted) break;
}
await modules.close();
process.exit(findings > 0 ? 1 : 0);
