import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { root } from "./markdown.js";

// A file has one subject, and what is the same stands once: as far as a program can tell.

const MAX_LINES = 300;
/** So many equal lines in a row are one thing that stands in two places. */
const BLOCK = 8;

const sources = new Map(
  readdirSync(`${root}/packages`).flatMap((name) =>
    readdirSync(`${root}/packages/${name}/src`, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file): [string, string] => {
        const path = `packages/${name}/src/${file}`;
        return [path, readFileSync(`${root}/${path}`, "utf8")];
      }),
  ),
);

interface Line {
  readonly text: string;
  /** From 1. */
  readonly number: number;
}

/** The lines of a file that say something, with single blanks: imports and empty lines are left out. */
function linesOf(source: string): Line[] {
  const withoutImports = source.replace(/^(?:import|export) [^;]*? from "[^"]*";$/gm, (text) =>
    text.replace(/.+/g, ""),
  );
  return withoutImports
    .split("\n")
    .map((line, i) => ({ text: line.trim().replace(/\s+/g, " "), number: i + 1 }))
    .filter(({ text }) => text !== "");
}

/** Where blocks of equal lines begin that stand twice: "b.ts:20 as a.ts:10". A longer block is told once. */
function twice(files: ReadonlyMap<string, string>): string[] {
  const first = new Map<string, { readonly file: string; readonly at: number; readonly number: number }>();
  const found: string[] = [];
  for (const [file, source] of files) {
    const lines = linesOf(source);
    let before: { readonly file: string; readonly at: number } | undefined;
    for (let at = 0; at + BLOCK <= lines.length; at++) {
      const block = lines.slice(at, at + BLOCK);
      const { number } = block[0]!;
      const key = block.map(({ text }) => text).join("\n");
      const known = first.get(key);
      if (!known) first.set(key, { file, at, number });
      // The block may have begun a line above, in both places.
      else if (saysMuch(block) && !(before?.file === known.file && before.at === known.at - 1))
        found.push(`${file}:${number} as ${known.file}:${known.number}`);
      before = known;
    }
  }
  return found;
}

/** It is not for the most part brackets and comments. */
function saysMuch(block: readonly Line[]): boolean {
  return block.filter(({ text }) => /\w/.test(text) && !/^(?:\/\/|\/?\*)/.test(text)).length > BLOCK / 2;
}

describe("source files", () => {
  it("have no block of 8 lines that stands twice", () => {
    expect(twice(sources)).toEqual([]);
  });

  it("would show one, and where it begins", () => {
    const block = Array.from({ length: BLOCK + 1 }, (_, i) => `  work(${i});`);
    const files = new Map([
      ["a.ts", ['import { work } from "./work.js";', "", "function a() {", ...block, "}"].join("\n")],
      ["b.ts", ["const b = () => {", ...block.map((line) => `  ${line}\n`), "};"].join("\n")],
      ["c.ts", block.slice(2).join("\n")],
    ]);
    expect(twice(files)).toEqual(["b.ts:2 as a.ts:4"]);
  });

  it("have 300 lines at most, or say at their top why not", () => {
    const long = [...sources].filter(
      ([, source]) => source.split("\n").length - 1 > MAX_LINES && !/^\/\/ Over 300 lines: /.test(source),
    );
    expect(long.map(([file]) => file)).toEqual([]);
  });
});
