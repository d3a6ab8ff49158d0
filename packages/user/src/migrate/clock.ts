import { setTimeout } from "node:timers/promises";
import type { MigrateClock } from "./options.js";

export const realClock: MigrateClock = {
  now: () => performance.now(),
  sleep: (ms, signal) => setTimeout(ms, undefined, { signal }),
};
