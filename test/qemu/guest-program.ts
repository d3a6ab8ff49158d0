import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { CACHE, type Lab } from "./lab.js";

/** Static: the guest has no C library. */
const FLAGS = ["-static", "-s", "-O1", "-Wall", "-Wextra", "-Werror"];

/**
 * Compiles guest/NAME.c with the host's gcc for the guest, and returns where it is as QEMU's chroot names it.
 * Kept there under a hash of the source.
 */
export function guestProgram(lab: Lab, name: string): string {
  const source = fileURLToPath(new URL(`guest/${name}.c`, import.meta.url));
  const key = createHash("sha256").update(FLAGS.join(" ")).update(readFileSync(source)).digest("hex");
  const program = `${CACHE}/${name}-${key.slice(0, 16)}`;
  const outside = lab.outside(program);
  if (!existsSync(outside)) {
    mkdirSync(dirname(outside), { recursive: true });
    // Two test files may compile it at once: each writes its own and the last rename wins.
    const draft = `${outside}.${process.pid}`;
    execFileSync("gcc", [...FLAGS, "-o", draft, source], { stdio: ["ignore", "inherit", "inherit"] });
    renameSync(draft, outside);
  }
  return program;
}
