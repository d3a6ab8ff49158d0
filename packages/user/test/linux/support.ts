import { readdirSync, readFileSync, readlinkSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFds, openMappings } from "@vfiokit/user/linux";

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

export function temporaryDirectory(): string {
  return mkdtempSync(TEMPORARY);
}
