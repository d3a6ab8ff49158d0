import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { frames, Header, MAGIC, tailLimit, type FrameName } from "../../../src/migrate/remote/protocol.js";

const page = readFileSync(new URL("../../../../../docs/migration-remote.md", import.meta.url), "utf8");

/** The rows "offset, size, field" of the first table behind a line of the page, up to the next heading. */
function tableBehind(pattern: RegExp): string[][] {
  const [, section] = page.split(pattern);
  const [table = ""] = section!.split(/^#+ /m);
  return [...table.matchAll(/^\| (\d+) +\| ([\d–]+) +\| (\w+) +\|/gm)].map(([, ...cells]) => cells);
}

/** The same rows from a declaration. */
function rows(struct: { offset: object; fields: object; size: number }, most = 0): string[][] {
  const offsets = Object.entries(struct.offset) as [string, number][];
  return offsets.map(([name, at], index) => {
    const next = offsets[index + 1]?.[1] ?? struct.size;
    const tail = at === struct.size;
    return [String(at), tail ? `0–${most}` : String(next - at), name];
  });
}

describe("docs/migration-remote.md", () => {
  it("has the header", () => {
    expect(tableBehind(/^## Frames$/m)).toEqual(rows(Header));
  });

  it("has the magic", () => {
    const hex = Array.from(MAGIC, (byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(" ");
    expect(page).toContain(`\`${hex}\``);
  });

  it.each(Object.keys(frames) as FrameName[])("has %s, byte by byte", (name) => {
    const { type, from, payload } = frames[name];
    const number = `0x${type.toString(16).toUpperCase().padStart(2, "0")}`;
    expect(tableBehind(new RegExp(`^#+ ${name} \`${number}\`.*$`, "m"))).toEqual(
      rows(payload, tailLimit[name]),
    );
    // Its heading says whose it is, or that of the section above.
    const [before] = page.split(new RegExp(`(?<=^#+ ${name} .*$)`, "m"));
    expect([...before!.matchAll(/^#+ .*from the (?:migration )?(\w+)$/gm)].at(-1)?.[1]).toBe(from);
  });
});
