// Plays random vfio-user sessions against our servers and the relay: npm run fuzz:protocol -- --seconds 60
import { parseArgs } from "node:util";
import { createServer } from "vite";

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

/** @param {string} message */
function refuse(message) {
  console.error(`fuzz:protocol: ${message}\n\n${USAGE}`);
  process.exit(2);
}

function readOptions() {
  const text = { type: /** @type {const} */ ("string") };
  const flag = { type: /** @type {const} */ ("boolean") };
  const { values } = parseArgs({
    options: {
      server: { type: /** @type {const} */ ("string"), multiple: true },
      seconds: text,
      sessions: text,
      messages: text,
      seed: text,
      json: flag,
      help: flag,
    },
  });
  if (values.help) return undefined;
  /** @param {"seconds" | "sessions" | "messages" | "seed"} name @param {number} otherwise @param {number} least */
  const number = (name, otherwise, least) => {
    const value = values[name];
    if (value === undefined) return otherwise;
    if (!/^\d{1,9}$/.test(value) || Number(value) < least)
      throw new Error(`--${name} ${value}: a whole number from ${least} up is needed`);
    return Number(value);
  };
  const sessions = number("sessions", Infinity, 1);
  const messages = number("messages", Infinity, 1);
  return {
    sessions,
    messages,
    seconds: number("seconds", sessions === Infinity && messages === Infinity ? 60 : Infinity, 1),
    seed: number("seed", Math.floor(Math.random() * 1e9), 0),
    server: values.server,
    json: values.json === true,
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
const { seconds, sessions, messages, seed, json } = options;
const vite = await createServer({
  configFile: "vitest.config.ts",
  server: { middlewareMode: true, watch: null, ws: false },
  optimizeDeps: { noDiscovery: true },
  logLevel: "error",
  appType: "custom",
});
/** @type {typeof import("../test/fuzz/campaign.js")} */
const { campaign, formatFault } = /** @type {any} */ (await vite.ssrLoadModule("/test/fuzz/campaign.ts"));
/** @type {typeof import("../test/fuzz/target.js")} */
const { serverKinds } = /** @type {any} */ (await vite.ssrLoadModule("/test/fuzz/target.ts"));

const kinds = (options.server ?? serverKinds).map((name) => {
  const kind = serverKinds.find((one) => one === name);
  if (!kind) refuse(`--server ${name}: one of ${serverKinds.join(", ")}`);
  return /** @type {typeof serverKinds[number]} */ (kind);
});
const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
if (!json) console.log(`seed ${seed}`);

let findings = 0;
for (const server of kinds) {
  const begun = performance.now();
  let shown = 0;
  let found = 0;
  const stop = new AbortController();
  const took = () => Math.round((performance.now() - begun) / 1000);
  /** @param {import("../test/fuzz/campaign.js").Counts} counts */
  const line = (counts) =>
    `${server}: ${counts.sessions} sessions, ${counts.messages} messages, ${counts.answers} answers ` +
    `(${counts.refused} errors), ${counts.dma} DMA messages, longest wait ${counts.longest.toFixed(0)} ms, ` +
    `${found} findings, ${took()} s`;
  const clear = process.stderr.isTTY ? "\r\x1b[K" : "";
  const { counts, held } = await campaign({
    ...{ server, seed, sessions, messages, signal: AbortSignal.any([stop.signal, interrupted.signal]) },
    onProgress(counts) {
      const now = performance.now();
      if (now - begun > seconds * 1000) stop.abort();
      if (now - shown < (process.stderr.isTTY ? 200 : 10_000)) return;
      shown = now;
      process.stderr.write(`${clear}${line(counts)}${clear ? "" : "\n"}`);
    },
    onFault(fault) {
      found++;
      process.stderr.write(clear);
      console.log(`\n${formatFault(fault)}\n`);
    },
  });
  process.stderr.write(clear);
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
await vite.close();
process.exit(findings > 0 ? 1 : 0);
