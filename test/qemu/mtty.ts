import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { kernelVersion } from "./initramfs.js";
import { CACHE, type Lab } from "./lab.js";
import { linuxSource } from "./linux-source.js";

/** Linux's sample of a mediated device, a serial card in software that migrates. */
const SAMPLE = "samples/vfio-mdev/mtty.c";

/** Compiles it, unchanged, for the guest's full kernel, and returns where the module is, as this machine names it. */
export function mttyModule(lab: Lab): string {
  const source = linuxSource(lab, [SAMPLE]);
  const version = kernelVersion(lab, true);
  const key = createHash("sha256").update(`${source} ${version}`).digest("hex");
  const module = lab.outside(`${CACHE}/mtty-${key.slice(0, 16)}.ko`);
  if (existsSync(module)) return module;
  const folder = `${CACHE}/mtty.${process.pid}`;
  mkdirSync(lab.outside(folder), { recursive: true });
  try {
    writeFileSync(lab.outside(`${folder}/Makefile`), "obj-m := mtty.o\n");
    const make = `cp ${source}/${SAMPLE} ${folder} && make -s -C /lib/modules/${version}/build M=${folder} modules`;
    // The kernel's build looks into /proc, which the chroot has for as long as this lasts.
    const script = 'mount -t proc proc "$0/proc" && exec chroot "$0" sh -c "$1"';
    execFileSync("unshare", ["--mount", "sh", "-c", script, lab.root, make], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    renameSync(lab.outside(`${folder}/mtty.ko`), module);
  } finally {
    rmSync(lab.outside(folder), { recursive: true });
  }
  return module;
}
