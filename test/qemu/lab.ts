import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe } from "vitest";

/** Where tests keep what they made once, in the chroot. */
export const CACHE = "/var/cache/vfiokit";
const SETUP = "scripts/qemu-setup.sh";

/** What the chroot's stamp has to say. */
function recipe(): string {
  const script = readFileSync(fileURLToPath(new URL(`../../${SETUP}`, import.meta.url)), "utf8");
  return /^recipe=(\d+)$/m.exec(script)![1]!;
}

/**
 * The laboratory: a chroot with QEMU and a guest kernel, made by scripts/qemu-setup.sh.
 *
 * QEMU runs inside the chroot and the tests outside, so every file and socket that both use has two names:
 * `inside` (what QEMU is told) and `outside` (what the test opens).
 */
export class Lab {
  private constructor(readonly root: string) {}

  /** The laboratory of this machine, or the reason why there is none. */
  static find(): Lab | { missing: string } {
    const root = process.env["VFIOKIT_QEMU_ROOT"] ?? "/var/cache/vfiokit/qemu";
    const stamp = join(root, ".vfiokit-recipe");
    if (!existsSync(stamp)) return { missing: `no QEMU chroot at ${root}: ${SETUP} makes it` };
    if (readFileSync(stamp, "utf8").trim() !== recipe()) {
      return { missing: `the QEMU chroot ${root} is older than these tests: ${SETUP} adds what it lacks` };
    }
    if (process.getuid?.() !== 0) return { missing: `entering the chroot ${root} needs root` };
    return new Lab(root);
  }

  outside(inside: string): string {
    return join(this.root, inside);
  }

  /** A new folder for one test's sockets, gone when disposed. */
  scratch(): Scratch {
    sweep(this.outside("/tmp"));
    return new Scratch(this);
  }
}

const PREFIX = "vfiokit-";

export class Scratch implements Disposable {
  private readonly folder: string;

  constructor(private readonly lab: Lab) {
    // The owner's process id is in the name, so that a later run can tell what a crashed one left behind.
    this.folder = mkdtempSync(lab.outside(`/tmp/${PREFIX}${process.pid}-`));
  }

  outside(name: string): string {
    return join(this.folder, name);
  }

  inside(name: string): string {
    return this.outside(name).slice(this.lab.root.length);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Removes the folders of test runs that no longer exist. */
function sweep(parent: string): void {
  for (const name of readdirSync(parent)) {
    const owner = /^vfiokit-(\d+)-/.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) {
      rmSync(join(parent, name), { recursive: true, force: true });
    }
  }
}

/**
 * `describe` for tests that boot a guest: skipped, with one line that says why, where there is no
 * laboratory; an error there when VFIOKIT_REQUIRE_QEMU=1, as in CI, where a skip would hide a broken card.
 */
export function describeWithQemu(name: string, body: (lab: Lab) => void): void {
  const lab = Lab.find();
  if (lab instanceof Lab) {
    describe(name, () => body(lab));
  } else if (process.env["VFIOKIT_REQUIRE_QEMU"] === "1") {
    throw new Error(`VFIOKIT_REQUIRE_QEMU=1, but ${lab.missing}`);
  } else {
    process.stderr.write(`skipped: ${name}: ${lab.missing}\n`);
    describe.skip(name, () => body(undefined as never));
  }
}
