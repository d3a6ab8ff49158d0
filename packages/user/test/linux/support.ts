import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFds, openMappings } from "@vfiokit/user/linux";
import koffi from "koffi";

const TEMPORARY = join(tmpdir(), "vfiokit-test-");

/** What this process has open, as the kernel sees it: descriptors by target, mappings of files. */
export function kernelResources(): { fds: string[]; maps: number } {
  const fds = readdirSync("/proc/self/fd").flatMap((number) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${number}`);
      // The directory that this very listing has open.
      return target.startsWith("/proc/") ? [] : [`${number} ${target}`];
    } catch {
      return [];
    }
  });
  // Not all of the temporary directory: the workspace itself, with the addons it loads, may be in there.
  const maps = readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("memfd:") || line.includes(TEMPORARY)).length;
  return { fds, maps };
}

export function ownResources(): { fds: number; mappings: number } {
  return { fds: openFds(), mappings: openMappings() };
}

const setrlimit = koffi.load(null).func("int setrlimit(int, void *)") as (
  resource: number,
  limit: BigUint64Array,
) => number;
const RLIMIT_NOFILE = 7;

/** Lets this process open no descriptor at all. Returns what ends that. */
export function exhaustFds(): () => void {
  // The limit is on the number of a new descriptor, and every number is above zero.
  return exhaustFdsAt(0);
}

function exhaustFdsAt(limit: number): () => void {
  const [, soft, hard] = /Max open files\s+(\d+)\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"))!;
  const set = (limit: number) => setrlimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(limit), BigInt(hard!)));
  set(limit);
  return () => void set(Number(soft));
}

/** Lets this process open no further descriptor; one that it closes can be opened again. Returns what ends that. */
export function exhaustFdsButThose(): () => void {
  const end = exhaustFdsAt(Math.max(...readdirSync("/proc/self/fd").map(Number)) + 1);
  const fillers: number[] = [];
  try {
    for (;;) fillers.push(openSync("/dev/null", "r"));
  } catch {
    // All numbers below the limit are taken.
  }
  return () => {
    end();
    for (const number of fillers) closeSync(number);
  };
}

export function temporaryDirectory(): string {
  return mkdtempSync(TEMPORARY);
}
