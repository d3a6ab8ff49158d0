import { join } from "node:path";
import { LocalSource, LocalTarget, migrate } from "@vfiokit/user";

/**
 * Migrates devices from the server at FROM to the one at TO, device i as far as the point that the i-th number after
 * that names: there it waits, and once all wait it says "ready" and waits to be killed. With "go on" before the numbers,
 * it lets all of them go on instead, and kills itself with their requests under way.
 */

const [, , from, to, then, ...stops] = process.argv;
/** @type {() => void} */
let goOn = () => undefined;
const opened = new Promise((open) => (goOn = () => open(undefined)));
const waiting = stops.map(async (stop, i) => {
  const source = await LocalSource.connect(join(/** @type {string} */ (from), String(i)));
  const target = await LocalTarget.connect(join(/** @type {string} */ (to), String(i)));
  let points = 0;
  await new Promise((arrived) => {
    /** @returns {void | Promise<void>} */
    const fault = () => {
      if (points++ !== Number(stop)) return undefined;
      arrived(undefined);
      return opened;
    };
    migrate(source, target, { maxDowntime_ms: 0, maxRounds: 3, hooks: { fault } }).then(arrived, arrived);
  });
});
await Promise.all(waiting);
if (then === "go on") {
  goOn();
  setImmediate(() => process.kill(process.pid, "SIGKILL"));
} else {
  console.log("ready");
  setInterval(() => undefined, 1 << 30);
}
