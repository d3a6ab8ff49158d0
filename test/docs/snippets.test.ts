import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, it } from "vitest";
import { codeBlocks, documents, root } from "./markdown.js";

const FOLDER = "test-results/snippets";

/** Of the examples, the compiler sees the files themselves. */
const snippets = documents().flatMap((path) =>
  codeBlocks(path)
    .filter(({ language, info }) => language === "ts" && info === "")
    .map(({ text, line }) => ({ text, file: `${path.replaceAll(/[/.]/g, "-")}-line-${line}.ts` })),
);

describe("the TypeScript in the documents", () => {
  it(`compiles (${snippets.length} snippets)`, () => {
    rmSync(`${root}/${FOLDER}`, { recursive: true, force: true });
    mkdirSync(`${root}/${FOLDER}`, { recursive: true });
    for (const { file, text } of snippets) writeFileSync(`${root}/${FOLDER}/${file}`, text);
    const compilerOptions = {
      target: "ES2022",
      lib: ["ES2023", "ESNext.Disposable"],
      module: "NodeNext",
      moduleDetection: "force",
      strict: true,
      skipLibCheck: true,
      noEmit: true,
      types: ["node"],
    };
    writeFileSync(`${root}/${FOLDER}/tsconfig.json`, JSON.stringify({ compilerOptions }));
    execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", FOLDER], {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
    });
  }, 120_000);
});
