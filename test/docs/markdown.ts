import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export interface CodeBlock {
  /** "sh" for a block that starts with ```sh. */
  readonly language: string;
  /** What follows the language: "examples/gpio/gpio.ts". */
  readonly info: string;
  readonly text: string;
  /** Line of the document that the text starts at. */
  readonly line: number;
}

/** The fenced code blocks of a document of this repository. */
export function codeBlocks(path: string): CodeBlock[] {
  const document = readFileSync(`${root}/${path}`, "utf8");
  return [...document.matchAll(/^```(\w+) ?(.*)\n([^]*?)^```$/gm)].map((match) => ({
    language: match[1]!,
    info: match[2]!,
    text: match[3]!,
    line: document.slice(0, match.index).split("\n").length + 1,
  }));
}

/** Every document: the pages of docs, and the READMEs. */
export function documents(): string[] {
  const pages = readdirSync(`${root}/docs`).map((name) => `docs/${name}`);
  const packages = readdirSync(`${root}/packages`).map((name) => `packages/${name}/README.md`);
  return ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ...pages, ...packages].filter(
    (path) => path.endsWith(".md") && exists(path),
  );
}

/** Is there such a file or folder in the repository? */
export function exists(path: string): boolean {
  return existsSync(`${root}/${path}`);
}
