import { join } from "node:path";
import { LocalSource, LocalTarget, migrate } from "@vfiokit/user";

/**
 * Migrates devices from the server at FROM to the one at TO, device i as far as the point that the i-th number after
 * that names: there it waits for ever. Says "ready" once all wait. Who kills it decides where it had got to.
 */

const [, , from, to, ...stops] = process.argv;
const waiting = stops.map(async (stop, i) => {
  const source = await LocalSource.connect(join(/** @type {string} */ (from), String(i)));
  const target = await LocalTarget.connect(join(/** @type {string} */ (to), String(i)));
  let points = 0;
  await new Promise((arrived) => {
    /** @returns {void | Promise<void>} */
    const fault = () => {
      if (points++ !== Number(stop)) return undefined;
      arrived(undefined);
      return new Promise(() => undefined);
    };
    migrate(source, target, { maxDowntime_ms: 0, maxRounds: 3, hooks: { fault } }).then(arrived, arrived);
  });
});
await Promise.all(waiting);
console.log("ready");
setInterval(() => undefined, 1 << 30);
