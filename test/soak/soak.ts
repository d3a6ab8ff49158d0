import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { VfioError } from "@vfiokit/core";
import { RelayClient } from "@vfiokit/user";
import { openFds, openMappings } from "@vfiokit/user/linux";
import { Host, socketFolder } from "../fuzz/host.js";
import { Random } from "../fuzz/random.js";
import { plan, type SoakDevice } from "./plan.js";
import { TrafficSession, type Counts } from "./traffic.js";

/** What a process holds while it has no client. Bytes. */
export interface Held {
  readonly fds: number;
  readonly shared: number;
  readonly maps: number;
  readonly rss: number;
  readonly heap: number;
}

export interface SoakProcess {
  readonly name: string;
  readonly serves: number;
  /** After the warm-up. */
  readonly first: Held;
  readonly last: Held;
}

export interface SoakReport {
  readonly seed: number;
  readonly seconds: number;
  readonly devices: number;
  readonly counts: Counts;
  readonly processes: readonly SoakProcess[];
  readonly faults: readonly string[];
}

export interface SoakOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (counts: Counts, elapsedSeconds: number) => void;
}

/** Of the whole time, before anything is compared; and at least so long. */
const WARM_UP_SHARE = 0.1;
const WARM_UP_SECONDS = 6;
/** For a process to release what its clients had. */
const REST_MS = 3000;
/** What memory may vary by, bytes: what V8 and malloc keep. */
const HEAP_SLACK = 4 * 1024 ** 2;
const RSS_SLACK = 64 * 1024 ** 2;
const MAPS_SLACK = 200;
const MOVE = { maxDowntime_ms: 300, maxRounds: 3 };
const MAX_FAULTS = 10;

/** Twenty devices with a client each that never stops for long: nothing may go wrong, and nothing may grow. */
export async function soak({ seconds, seed, signal, onProgress }: SoakOptions): Promise<SoakReport> {
  using folder = socketFolder();
  const { devices, processes } = plan(folder.path);
  const hosts: { name: string; serves: number; host: Host }[] = [];
  const counts: Counts = { sessions: 0, operations: 0, resets: 0, saves: 0, moves: 0, interrupts: 0 };
  const faults: string[] = [];
  const begun = performance.now();
  const elapsed = (): number => (performance.now() - begun) / 1000;
  try {
    for (const [name, served] of Object.entries(processes))
      hosts.push({ name, serves: served.length, host: await Host.start(served) });
    let round = 0;
    const run = async (until: number): Promise<void> => {
      round++;
      const isOver = (): boolean =>
        elapsed() > until || signal?.aborted === true || faults.length > MAX_FAULTS;
      const progress = setInterval(() => onProgress?.(counts, elapsed()), 1000);
      await Promise.all(
        devices.map((device, i) =>
          live(device, new Random(seed + 1000 * round + i), counts, isOver, (fault) => faults.push(fault)),
        ),
      );
      clearInterval(progress);
    };
    await run(Math.max(WARM_UP_SECONDS, seconds * WARM_UP_SHARE));
    const first = await Promise.all(hosts.map(({ host }) => held(host)));
    const own = ownResources();
    await run(seconds);
    const last = await Promise.all(hosts.map(({ host }, i) => held(host, first[i])));
    const held_: SoakProcess[] = hosts.map(({ name, serves }, i) => ({
      name,
      serves,
      first: first[i]!,
      last: last[i]!,
    }));
    faults.push(...hosts.flatMap(({ name, host }) => host.bugs.map((bug) => `${name}: ${bug}`)));
    faults.push(...held_.flatMap(growth));
    if (JSON.stringify(own) !== JSON.stringify(ownResources()))
      faults.push(`the clients' process: ${JSON.stringify(own)} became ${JSON.stringify(ownResources())}`);
    return {
      seed,
      seconds: Math.round(elapsed()),
      devices: devices.length,
      counts,
      processes: held_,
      faults,
    };
  } finally {
    for (const { host } of hosts) await host.close();
  }
}

/** A device's clients, one after the other, and its moves. */
async function live(
  device: SoakDevice,
  random: Random,
  counts: Counts,
  isOver: () => boolean,
  onFault: (fault: string) => void,
): Promise<void> {
  const guarded = async (what: string, run: () => Promise<void>): Promise<void> => {
    while (!isOver()) {
      try {
        await run();
      } catch (error) {
        onFault(`${device.name}, ${what}: ${error instanceof Error ? error.stack : String(error)}`);
        await sleep(100);
      }
    }
  };
  const clients = guarded("client", () => TrafficSession.run(device, random, counts, isOver));
  const moves =
    device.servers && guarded("move", () => move(device, new Random(random.below(2 ** 31)), counts));
  await Promise.all([clients, moves]);
}

async function move({ path, servers }: SoakDevice, random: Random, counts: Counts): Promise<void> {
  await sleep(200 + random.below(2000));
  using relay = await RelayClient.open(path);
  if (!relay) throw new Error(`${path}: no relay answers`);
  const { server } = await relay.status();
  try {
    await relay.migrate(server === servers![0] ? servers![1] : servers![0], MOVE);
    counts.moves++;
  } catch (error) {
    // The client migrates the device itself, or has gone in the middle of the move.
    if (!(error instanceof VfioError) || !["EBUSY", "ECANCELED"].includes(error.code)) throw error;
  }
}

/** Once its clients are gone: what it was before, or what it is some seconds later. */
async function held(host: Host, before?: Held): Promise<Held> {
  const since = performance.now();
  for (;;) {
    const { fds, shared, maps } = host.resources();
    const atRest = before !== undefined && fds.length === before.fds && shared === before.shared;
    if (atRest || performance.now() - since > REST_MS) {
      const { heap, rss } = await host.measure();
      return { fds: fds.length, shared, maps, rss, heap };
    }
    await sleep(50);
  }
}

function ownResources(): { fds: number; mappings: number; open: number } {
  return { fds: openFds(), mappings: openMappings(), open: readdirSync("/proc/self/fd").length };
}

function growth({ name, first, last }: SoakProcess): string[] {
  const beyond = (what: keyof Held, slack: number): string[] =>
    Math.abs(last[what] - first[what]) > slack && (slack === 0 || last[what] > first[what])
      ? [`${name}: ${what} went from ${first[what]} to ${last[what]}`]
      : [];
  return [
    ...beyond("fds", 0),
    ...beyond("shared", 0),
    ...beyond("maps", MAPS_SLACK),
    ...beyond("heap", HEAP_SLACK),
    ...beyond("rss", RSS_SLACK),
  ];
}

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

export function formatReport({ seed, seconds, devices, counts, processes, faults }: SoakReport): string {
  const rows = processes.map(({ name, serves, first, last }) => [
    name,
    String(serves),
    `${first.fds} to ${last.fds}`,
    `${first.shared} to ${last.shared}`,
    `${first.maps} to ${last.maps}`,
    `${mib(first.rss)} to ${mib(last.rss)}`,
    `${mib(first.heap)} to ${mib(last.heap)}`,
  ]);
  const table = [["process", "serves", "fds", "shared maps", "maps", "RSS, MiB", "heap, MiB"], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const { sessions, operations, resets, saves, moves, interrupts } = counts;
  return [
    `seed ${seed}, ${seconds} s, ${devices} devices: ${sessions} clients, ${operations} operations, ${resets} resets, ` +
      `${saves} saves, ${moves} moves, ${interrupts} interrupts`,
    ...table.map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    ),
    ...faults.map((fault) => `fault: ${fault}`),
  ].join("\n");
}
