/**
 * Migration: the image's way through the migration client against plain copies of as many bytes, what stops the device, dirty
 * reports, and memory. `VFIOKIT_BENCH_GIB=4` moves an image of that size, too (twice as much memory is needed).
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { DirtyLog } from "@vfiokit/core/host";
import { median, takeTurns } from "./lib/measure.js";
import { MemoryCards } from "./lib/memory-cards.js";

export const name = "migration";

const MIB = 1024 * 1024;
const TURNS = 5;
const IMAGE_MIB = 256;
const PRECOPY_MIB = 64;
const DIRTY_RATE = 10_000_000;
const MAX_ROUNDS = 30;
const MAX_DOWNTIME_MS = 100;

/** @typedef {import("./lib/measure.js").Row} Row */

/** @returns {Promise<Row[]>} */
export async function run() {
  return [...(await imageRows()), await downtimeRow(), ...(await dirtyRows()), ...(await memoryRows())];
}

/** Seconds and CPU seconds for a GiB. @returns {Promise<Row[]>} */
async function imageRows() {
  const directory = mkdtempSync(join(tmpdir(), "vfiokit-bench-"));
  const program = compile(directory);
  const cards = await MemoryCards.start(IMAGE_MIB * MIB);
  const perGiB = 1024 / IMAGE_MIB;
  /** @type {number[]} */
  const cpu = [];
  /** @type {number[]} */
  const copyCpu = [];
  const ours = async () => {
    const moved = await cards.move(0, 0);
    cpu.push(moved.cpu_s * perGiB);
    return (moved.total_ms / 1000) * perGiB;
  };
  /** @param {string} command @param {string[]} args @param {number[]} [into] */
  const copy = async (command, args, into) => {
    const { stdout } = await promisify(execFile)(command, args);
    const [seconds = NaN, used = NaN] = stdout.split(" ").map(Number);
    into?.push(used * perGiB);
    return seconds * perGiB;
  };
  try {
    await ours(); // the first is compiled while it runs
    const rows = [];
    if (program !== undefined) {
      cpu.length = 0;
      const middle = () => copy(program, ["2", String(IMAGE_MIB)], copyCpu);
      rows.push(await takeTurns("a GiB: copy with a process between (C)", "s", TURNS, ours, middle));
      const [a, b] = [median(cpu), median(copyCpu)];
      rows.push({
        what: "a GiB: CPU, all three processes (C)",
        unit: "s",
        ours: a,
        baseline: b,
        ratio: a / b,
      });
      const direct = () => copy(program, ["1", String(IMAGE_MIB)]);
      rows.push(await takeTurns("a GiB: copy without one (C)", "s", TURNS, ours, direct));
    }
    const node = () => copy(process.execPath, [here("lib/net-copy.js"), String(IMAGE_MIB)]);
    rows.push(await takeTurns("a GiB: copy with one (node:net)", "s", TURNS, ours, node));
    return rows;
  } finally {
    await cards.stop();
    rmSync(directory, { recursive: true });
  }
}

/** What pre-copy takes off the time that a device stands still that writes all the while. @returns {Promise<Row>} */
async function downtimeRow() {
  const cards = await MemoryCards.start(PRECOPY_MIB * MIB, DIRTY_RATE);
  try {
    await cards.move(MAX_ROUNDS, MAX_DOWNTIME_MS);
    return await takeTurns(
      `${PRECOPY_MIB} MiB, 10 MB/s dirty: downtime / no pre-copy`,
      "ms",
      TURNS,
      async () => (await cards.move(MAX_ROUNDS, MAX_DOWNTIME_MS)).downtime_ms,
      async () => (await cards.move(0, 0)).downtime_ms,
    );
  } finally {
    await cards.stop();
  }
}

/** A report of 1 TiB at 4 KiB pages is a bitmap of 32 MiB: against copying and clearing one. @returns {Promise<Row[]>} */
async function dirtyRows() {
  const PAGE = 4096n;
  const TIB = 1n << 40n;
  const pages = Number(TIB / PAGE);
  /** @param {string} what @param {(log: DirtyLog) => void} write */
  const compare = (what, write) => {
    const log = new DirtyLog();
    log.start(PAGE, []);
    let bitmap = new Uint8Array(pages / 8);
    const ours = () => {
      write(log);
      const start = performance.now();
      bitmap = /** @type {Uint8Array<ArrayBuffer>} */ (log.report(0n, TIB, PAGE));
      return Promise.resolve(performance.now() - start);
    };
    const plain = () => {
      const start = performance.now();
      const copied = bitmap.slice();
      bitmap.fill(0);
      const time = performance.now() - start;
      bitmap = copied;
      return Promise.resolve(time);
    };
    return takeTurns(what, "ms", 2 * TURNS + 1, ours, plain);
  };
  return [
    await compare("1 TiB report, all dirty", (log) => log.mark(0, pages)),
    await compare("1 TiB report, a page in 100 dirty", (log) => {
      for (let page = 0; page < pages; page += 100) log.mark(page, page + 1);
    }),
    await compare("1 TiB report, 1000 pages dirty", (log) => {
      for (let page = 0; page < pages; page += pages / 1000) log.mark(Math.floor(page), Math.floor(page) + 1);
    }),
  ];
}

/** Most memory of the migration client, and of a server without its card's, for a large image and for a small one. */
async function memoryRows() {
  const small = await peaks(IMAGE_MIB);
  const rows = [];
  for (const mib of [1024, Number(process.env["VFIOKIT_BENCH_GIB"] ?? 0) * 1024]) {
    if (mib === 0) continue;
    const large = await peaks(mib);
    for (const who of /** @type {const} */ (["client", "source", "target"]))
      rows.push({
        what: `${who}: peak for ${mib / 1024} GiB / ${IMAGE_MIB} MiB`,
        unit: "MiB",
        ours: large[who],
        baseline: small[who],
        ratio: large[who] / small[who],
      });
  }
  return rows;
}

/** @param {number} mib of the image */
async function peaks(mib) {
  const cards = await MemoryCards.start(mib * MIB);
  try {
    const { peak_KiB } = await cards.move(0, 0);
    const [source = NaN, target = NaN] = cards.peaks();
    return { client: peak_KiB / 1024, source: source / 1024 - mib, target: target / 1024 - mib };
  } finally {
    await cards.stop();
  }
}

/** @param {string} directory @returns {string | undefined} undefined: there is no C compiler */
function compile(directory) {
  const program = join(directory, "unix-copy");
  try {
    execFileSync("cc", ["-O2", "-Wall", "-o", program, here("c/unix-copy.c")]);
    return program;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return undefined;
    throw error;
  }
}

/** @param {string} file */
function here(file) {
  return fileURLToPath(new URL(file, import.meta.url));
}
