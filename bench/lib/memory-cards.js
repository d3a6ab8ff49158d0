/** Two server processes of `vfiokit serve memory-card`, and a device that moves between them. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { RegionIndex } from "@vfiokit/core";
import { PciCommand, PciHeader } from "@vfiokit/core/pci";
import { memoryCardRegisters as reg } from "@vfiokit/devices";
import { VfioUserClient } from "@vfiokit/user";

const PAGE = 4096;
/** USER_HZ: what /proc counts CPU time in. */
const TICKS_PER_SECOND = 100;

/**
 * @typedef {object} Moved What bench/lib/migration-client.js prints, and the servers' part.
 * @property {number} bytes
 * @property {number} stopCopyBytes
 * @property {number} rounds
 * @property {number} downtime_ms
 * @property {number} total_ms
 * @property {number} cpu_s of the migration client and both servers
 * @property {number} peak_KiB of the migration client
 */

export class MemoryCards {
  /** @type {import("node:child_process").ChildProcess[]} */
  #servers = [];
  #directory = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  /** Which of the two has the device. */
  #owner = 0;

  /** @param {number} bytes of the card's memory, all of it filled @param {number} dirtyRate bytes a second */
  static async start(bytes, dirtyRate = 0) {
    const cards = new MemoryCards();
    const size = ["--size", `${bytes / 1024}K`, "--dirty-rate", String(dirtyRate)];
    for (const end of [0, 1]) {
      const args = ["serve", "memory-card", ...size, "--json", "--socket-path", cards.#socket(end)];
      const server = spawn(process.execPath, [here("../../packages/cli/bin/vfiokit.js"), ...args], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      server.stderr.resume();
      cards.#servers.push(server);
      await once(/** @type {import("node:stream").Readable} */ (server.stdout), "data");
    }
    await cards.#fill(bytes / PAGE);
    return cards;
  }

  /** Moves the device to the other server. @param {number} maxRounds @param {number} maxDowntime_ms @returns {Promise<Moved>} */
  async move(maxRounds, maxDowntime_ms) {
    const other = 1 - this.#owner;
    const before = this.#cpu();
    const args = [this.#socket(this.#owner), this.#socket(other), String(maxRounds), String(maxDowntime_ms)];
    const { stdout } = await promisify(execFile)(process.execPath, [here("migration-client.js"), ...args]);
    /** @type {unknown} */
    const parsed = JSON.parse(stdout);
    const moved = /** @type {Moved} */ (parsed);
    this.#owner = other;
    return { ...moved, cpu_s: moved.cpu_s + this.#cpu() - before };
  }

  /** What the servers have had in memory at most, KiB: VmHWM. */
  peaks() {
    return this.#servers.map(({ pid }) => {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]);
    });
  }

  async stop() {
    for (const server of this.#servers) {
      const exited = once(server, "exit");
      server.kill("SIGTERM");
      await exited;
    }
    rmSync(this.#directory, { recursive: true });
  }

  /** Zero pages might be left out, so there are none. @param {number} pages */
  async #fill(pages) {
    const client = await VfioUserClient.connect(this.#socket(0));
    const { BAR0, CONFIG } = RegionIndex;
    await client.regionWrite(CONFIG, PciHeader.COMMAND, Uint8Array.of(PciCommand.MEMORY, 0));
    /** @param {number} register @param {number} value */
    const write = (register, value) =>
      client.regionWrite(BAR0, register, new Uint8Array(Uint32Array.of(value).buffer));
    const STEP = 256; // pages, which a command is done with when its write is
    for (let page = 0; page < pages; page += STEP) {
      await write(reg.PAGE, page);
      await write(reg.COUNT, Math.min(STEP, pages - page));
      await write(reg.SEED, 1);
      await write(reg.COMMAND, reg.COMMAND_FILL);
    }
    // A server has one client at a time: the migration client must wait until this one is gone.
    const log = /** @type {import("node:stream").Readable} */ (this.#servers[0]?.stderr);
    const gone = new Promise((resolve) => {
      log.on(
        "data",
        (/** @type {Buffer} */ lines) => lines.includes("connection ended") && resolve(undefined),
      );
    });
    client.close();
    await gone;
  }

  /** Seconds of both servers. */
  #cpu() {
    const ticks = this.#servers.map(({ pid }) => {
      // proc(5): utime and stime are fields 14 and 15; the name before them may hold spaces.
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      return Number(fields[11]) + Number(fields[12]);
    });
    return ticks.reduce((a, b) => a + b, 0) / TICKS_PER_SECOND;
  }

  /** @param {number} end */
  #socket(end) {
    return join(this.#directory, `${end}.sock`);
  }
}

/** @param {string} file */
function here(file) {
  return fileURLToPath(new URL(file, import.meta.url));
}
