// What a command costs before it does anything, against Node alone.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { takeTurns } from "./lib/measure.js";

export const name = "startup";

const COMMAND = fileURLToPath(new URL("../packages/cli/bin/vfiokit.js", import.meta.url));
const TURNS = 15;

export async function run() {
  const rows = [];
  for (const args of [["--version"], ["--help"], ["lockdep", "--help"], ["serve", "serial", "--help"]])
    rows.push(
      await takeTurns(
        `vfiokit ${args.join(" ")}`,
        "ms",
        TURNS,
        () => time([COMMAND, ...args]),
        () => time(["-e", "0"]),
      ),
    );
  return rows;
}

/** @param {string[]} args */
function time(args) {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: "ignore" });
  if (status !== 0) throw new Error(`${args.join(" ")}: ${status}`);
  return Promise.resolve(performance.now() - start);
}
