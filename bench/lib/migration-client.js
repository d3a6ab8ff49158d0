/**
 * Moves a device between two servers and prints one line of JSON: the result, and what this process has used.
 *
 *     node migration-client.js FROM TO MAX-ROUNDS MAX-DOWNTIME-MS
 */
import { LocalSource, LocalTarget, migrate } from "@vfiokit/user";

const [from = "", to = "", maxRounds, maxDowntime] = process.argv.slice(2);
const source = await LocalSource.connect(from);
const target = await LocalTarget.connect(to);
const before = process.cpuUsage();
const result = await migrate(
  source,
  target,
  { maxRounds: Number(maxRounds), maxDowntime_ms: Number(maxDowntime) },
  () => undefined,
);
const { user, system } = process.cpuUsage(before);
const { maxRSS } = process.resourceUsage();
console.log(JSON.stringify({ ...result, cpu_s: (user + system) / 1e6, peak_KiB: maxRSS }));
source.close();
target.close();
