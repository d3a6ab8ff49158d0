// What a command costs before it does anything, against Node alone; and how long a server takes until it listens.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
  rows.push(
    await takeTurns("vfiokit serve serial, until it listens", "ms", TURNS, listening, () =>
      time(["-e", "0"]),
    ),
  );
  return rows;
}

/** Until it has printed where it listens. */
async function listening() {
  const folder = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  const start = performance.now();
  const server = spawn(
    process.execPath,
    [COMMAND, "serve", "serial", "--socket-path", join(folder, "card.sock"), "--chardev", "null", "--json"],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  const ended = once(server, "exit");
  await once(server.stdout, "data");
  const took = performance.now() - start;
  server.kill();
  await ended;
  rmSync(folder, { recursive: true });
  return took;
}

/** @param {string[]} args */
function time(args) {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: "ignore" });
  if (status !== 0) throw new Error(`${args.join(" ")}: ${status}`);
  return Promise.resolve(performance.now() - start);
}
