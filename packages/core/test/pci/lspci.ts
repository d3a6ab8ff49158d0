import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";

const CHROOT = "/var/cache/vfiokit/qemu";

/** Where the tests with QEMU are required, lspci is there too, and these tests must not be skipped. */
export const hasLspci = existsSync(`${CHROOT}/usr/bin/lspci`) || process.env["VFIOKIT_REQUIRE_QEMU"] === "1";

/**
 * What the real `lspci -n -vv` prints for each of the configuration spaces, less their slots. Each is device 0 of a
 * bus of its own. What lspci adds from its database of names, it adds in brackets after the programming interface.
 */
export function lspci(spaces: readonly Uint8Array[], device = 0): string[][] {
  const slot = (bus: number): string => `${hex(bus)}:${hex(device)}.0`;
  const directory = mkdtempSync(`${CHROOT}/tmp/lspci-`);
  try {
    writeFileSync(`${directory}/dump`, spaces.map((bytes, bus) => dump(slot(bus), bytes)).join("\n"));
    const inside = `${directory.slice(CHROOT.length)}/dump`;
    const output = execFileSync("chroot", [CHROOT, "lspci", "-n", "-vv", "-F", inside], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return output
      .trimEnd()
      .split("\n\n")
      .map((text, bus) =>
        text
          .replace(`${slot(bus)} `, "")
          .replace(PROG_IF, "$1)")
          .replace(" (prog-if 00)", ""),
      )
      .map((text) => text.split("\n"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const PROG_IF = /( \(prog-if ..) \[.*\]\)/;

/** The format of `lspci -xxxx`, which `lspci -F` reads back. */
function dump(slot: string, bytes: Uint8Array): string {
  const lines = [`${slot} dump`];
  for (let at = 0; at < bytes.length; at += 16) {
    lines.push(`${hex(at)}: ${[...bytes.subarray(at, at + 16)].map(hex).join(" ")}`);
  }
  return `${lines.join("\n")}\n`;
}

function hex(value: number): string {
  return value.toString(16).padStart(2, "0");
}
