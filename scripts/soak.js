// Twenty devices with clients that never stop: npm run soak -- --minutes 30
import { parseArgs } from "node:util";
import { createServer } from "vite";

const USAGE = `Usage: npm run soak -- [options]
Serves twenty devices, six of them behind relays that move them about, with random traffic, resets and clients that come
and go. What the processes hold is compared after a warm-up and at the end.

  --minutes N  how long (default: 30)
  --seconds N  the same in seconds
  --seed S     of the traffic (default: by lot)
  --json       print the report as one line of JSON

Exit code 0: all went well, and nothing grew. 1: faults. 2: wrong usage.`;

/** @param {string} message */
function refuse(message) {
  console.error(`soak: ${message}\n\n${USAGE}`);
  process.exit(2);
}

function readOptions() {
  const text = { type: /** @type {const} */ ("string") };
  const flag = { type: /** @type {const} */ ("boolean") };
  const { values } = parseArgs({
    options: { minutes: text, seconds: text, seed: text, json: flag, help: flag },
  });
  if (values.help) return undefined;
  /** @param {"minutes" | "seconds" | "seed"} name @param {number} otherwise @param {number} least */
  const number = (name, otherwise, least) => {
    const value = values[name];
    if (value === undefined) return otherwise;
    if (!/^\d{1,9}$/.test(value) || Number(value) < least)
      throw new Error(`--${name} ${value}: a whole number from ${least} up is needed`);
    return Number(value);
  };
  return {
    seconds: number("seconds", 60 * number("minutes", 30, 1), 10),
    seed: number("seed", Math.floor(Math.random() * 1e9), 0),
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
const { seconds, seed, json } = options;
const vite = await createServer({
  configFile: "vitest.config.ts",
  server: { middlewareMode: true, watch: null, ws: false },
  optimizeDeps: { noDiscovery: true },
  logLevel: "error",
  appType: "custom",
});
/** @type {typeof import("../test/soak/soak.js")} */
const { soak, formatReport } = /** @type {any} */ (await vite.ssrLoadModule("/test/soak/soak.ts"));

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
if (!json) console.log(`seed ${seed}`);
const clear = process.stderr.isTTY ? "\r\x1b[K" : "";
let shown = 0;
const report = await soak({
  ...{ seconds, seed, signal: stop.signal },
  onProgress(counts, elapsed) {
    if (elapsed - shown < (process.stderr.isTTY ? 1 : 60)) return;
    shown = elapsed;
    const done = `${elapsed.toFixed(0)} of ${seconds} s: ${counts.sessions} clients, ${counts.operations} operations`;
    process.stderr.write(`${clear}${done}, ${counts.moves} moves${clear ? "" : "\n"}`);
  },
});
process.stderr.write(clear);
console.log(json ? JSON.stringify(report) : formatReport(report));
await vite.close();
process.exit(report.faults.length > 0 ? 1 : 0);
