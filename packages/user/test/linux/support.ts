import { readdirSync, readFileSync, readlinkSync, mkdtempSync } from "node:fs";
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
  const [, soft, hard] = /Max open files\s+(\d+)\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"))!;
  const set = (limit: number) => setrlimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(limit), BigInt(hard!)));
  // The limit is on the number of a new descriptor, and every number is above zero.
  set(0);
  return () => void set(Number(soft));
}

export function temporaryDirectory(): string {
  return mkdtempSync(TEMPORARY);
}
