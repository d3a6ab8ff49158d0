import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename } from "node:path";
import { CACHE, type Lab } from "./lab.js";

const PACKAGE = "/usr/src";

/**
 * Unpacks parts of Linux's source, as Debian's package has it in the chroot, and returns the folder there.
 * Kept in the chroot, one folder for each set of parts: reading the whole archive takes ten seconds.
 *
 * @param parts paths in Linux's source; "*" stands for a part of a name
 */
export function linuxSource(lab: Lab, parts: readonly string[]): string {
  const archive = newestArchive(lab);
  const { size, mtimeMs } = statSync(lab.outside(archive));
  const key = createHash("sha256")
    .update(`${size} ${mtimeMs} ${parts.join(" ")}`)
    .digest("hex");
  const folder = `${CACHE}/${basename(archive, ".tar.xz")}-${key.slice(0, 16)}`;
  if (existsSync(lab.outside(folder))) return folder;
  const draft = `${folder}.${process.pid}`;
  mkdirSync(lab.outside(draft), { recursive: true });
  const top = basename(archive, ".tar.xz");
  execFileSync(
    "chroot",
    [
      ...[lab.root, "tar", "--extract", "--file", archive, "--directory", draft, "--strip-components=1"],
      ...["--wildcards", "--no-wildcards-match-slash", ...parts.map((part) => `${top}/${part}`)],
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  // Two test files may unpack it at once: the one that comes second has nothing to add.
  try {
    renameSync(lab.outside(draft), lab.outside(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTEMPTY") throw error;
    rmSync(lab.outside(draft), { recursive: true });
  }
  return folder;
}

function newestArchive(lab: Lab): string {
  const archives = readdirSync(lab.outside(PACKAGE)).filter((name) =>
    /^linux-source-.*\.tar\.xz$/.test(name),
  );
  const newest = archives.sort(new Intl.Collator("en", { numeric: true }).compare).at(-1);
  if (newest === undefined) throw new Error(`${lab.root}${PACKAGE} has no linux-source-*.tar.xz`);
  return `${PACKAGE}/${newest}`;
}
