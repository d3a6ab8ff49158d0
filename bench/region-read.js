/** REGION_READ of 4 bytes from a C client: our server against a C echo that blocks in read(2). */
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { takeTurns } from "./lib/measure.js";

export const name = "region-read";

const TURNS = 9;
const TURN_MS = 300;
const DEPTH = 32;

/** @returns {Promise<import("./lib/measure.js").Row[] | string>} rows, or why there are none */
export async function run() {
  const directory = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  const program = join(directory, "region-read");
  try {
    execFileSync("cc", ["-O2", "-Wall", "-o", program, here("c/region-read.c")]);
  } catch (error) {
    rmSync(directory, { recursive: true });
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT")
      return "skipped: there is no C compiler";
    throw error;
  }
  const ours = join(directory, "ours.sock");
  const echo = join(directory, "echo.sock");
  const servers = [
    spawn(process.execPath, [here("lib/register-server.js"), ours], { stdio: ["ignore", "pipe", "inherit"] }),
    spawn(program, ["echo", echo], { stdio: ["ignore", "pipe", "inherit"] }),
  ];
  try {
    for (const server of servers) await once(server.stdout, "data");
    /** @param {string} path @param {string} mode @param {number} depth */
    const client = async (path, mode, depth) => {
      const args = ["client", path, mode, String(depth), String(TURN_MS)];
      const { stdout } = await promisify(execFile)(program, args);
      return Number(stdout) / 1000;
    };
    /** @param {string} what @param {number} depth */
    const compare = (what, depth) =>
      takeTurns(
        what,
        "us",
        TURNS,
        () => client(ours, "hello", depth),
        () => client(echo, "raw", depth),
      );
    return [
      await compare("REGION_READ round trip", 1),
      await compare(`REGION_READ, ${DEPTH} in flight, each`, DEPTH),
    ];
  } finally {
    for (const server of servers) {
      const exited = once(server, "exit");
      server.kill("SIGTERM");
      await exited;
    }
    rmSync(directory, { recursive: true });
  }
}

/** @param {string} file */
function here(file) {
  return fileURLToPath(new URL(file, import.meta.url));
}
