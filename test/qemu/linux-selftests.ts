import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Guest } from "./guest.js";
import { CACHE, type Lab } from "./lab.js";
import { linuxSource } from "./linux-source.js";

const SELFTESTS = "tools/testing/selftests";
/** The tests with all that they include. */
const PARTS = [
  `${SELFTESTS}/vfio`,
  `${SELFTESTS}/*.h`,
  "tools/include",
  "tools/arch/x86/include",
  "include/linux/pci_ids.h",
  // Links in the tests' drivers point to these.
  "drivers/dma/ioat/*.h",
  "drivers/dma/idxd/*.h",
  "drivers/net/ethernet/intel/igb/*.h",
];
const MODE = fileURLToPath(new URL("guest/default-iommu-mode.c", import.meta.url));
const FLAGS = [
  ...["-static", "-s", "-O1", "-pthread", "-D_GNU_SOURCE="],
  ...[`${SELFTESTS}/vfio/lib/include`, SELFTESTS, "tools/include", "tools/arch/x86/include"].map(
    (folder) => `-I${folder}`,
  ),
];

/** Compiles Linux's VFIO selftests, unchanged, and returns where they are as QEMU's chroot names them. */
export function vfioSelftests(lab: Lab, names: readonly string[]): string[] {
  const source = linuxSource(lab, PARTS);
  const key = createHash("sha256")
    .update(`${source} ${FLAGS.join(" ")}`)
    .update(readFileSync(MODE));
  const folder = `${CACHE}/vfio-selftests-${key.digest("hex").slice(0, 16)}`;
  mkdirSync(lab.outside(folder), { recursive: true });
  const library = filesBelow(lab, `${source}/${SELFTESTS}/vfio/lib`).filter((file) => file.endsWith(".c"));
  return names.map((name) => {
    const program = `${folder}/${name}`;
    if (!existsSync(lab.outside(program))) {
      const draft = `${program}.${process.pid}`;
      const test = `${source}/${SELFTESTS}/vfio/${name}.c`;
      const words = ["gcc-14", ...FLAGS, "-o", draft, "-x", "c", "-", test, ...library, "-luuid"];
      const shell = ["sh", "-c", 'cd "$0" && exec "$@"', source, ...words];
      execFileSync("chroot", [lab.root, ...shell], {
        input: readFileSync(MODE),
        stdio: ["pipe", "inherit", "inherit"],
      });
      renameSync(lab.outside(draft), lab.outside(program));
    }
    return program;
  });
}

/** What a program of kselftest counts. */
export interface SelftestCounts {
  readonly passed: number;
  readonly skipped: number;
  readonly failed: number;
}

/**
 * Runs one of them in the guest on a function that its vfio-pci has.
 *
 * @param variants the names of those variants that shall run; empty: all, and tests without variants
 * @throws Error with all that the program printed, unless it ends well
 */
export async function runSelftest(
  guest: Guest,
  name: string,
  variants: readonly string[],
  address: string,
): Promise<SelftestCounts> {
  const filter = variants.map((variant) => `-v ${variant}`).join(" ");
  const { status, output } = await guest.sh(`${name} ${filter} ${address}`, 120);
  const totals = /^# Totals: pass:(\d+) fail:(\d+) xfail:0 xpass:0 skip:(\d+) error:(\d+)$/m.exec(output);
  if (status !== 0 || !totals)
    throw new Error(`${name} ${address}: exit status ${status}\n${output}\n${guest.tail()}`);
  const [passed, failed, skipped, errors] = totals.slice(1).map(Number) as [number, number, number, number];
  return { passed, skipped, failed: failed + errors };
}

function filesBelow(lab: Lab, folder: string): string[] {
  return readdirSync(lab.outside(folder), { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name}`)
    .sort();
}
