import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseKernelLog, splatGraph } from "@vfiokit/lockdep/explain";
import { graphSvg } from "@vfiokit/lockdep/report-svg";
import ts from "typescript";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";

const here = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "lockdep-readme-"));
afterAll(() => rmSync(folder, { recursive: true }));

const readme = readFileSync(here("../README.md"), "utf8");
const block = (language: string): string => new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(readme)![1]!;
let printed: string;

/** Runs the first program of the README as its reader would, and keeps what it prints. */
beforeAll(async () => {
  await build({
    logLevel: "error",
    configFile: false,
    build: {
      lib: { entry: { index: here("../src/index.ts"), node: here("../src/node/index.ts") }, formats: ["es"] },
      outDir: join(folder, "lockdep/dist"),
      minify: false,
      target: "es2022",
      rolldownOptions: { external: [/^node:/] },
    },
  });
  const { outputText, sourceMapText } = ts.transpileModule(block("ts"), {
    fileName: "app.ts",
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, sourceMap: true },
  });
  const code = outputText
    .replace('"@vfiokit/lockdep"', '"./lockdep/dist/index.js"')
    .replace('"@vfiokit/lockdep/node"', '"./lockdep/dist/node.js"');
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "app.ts"), block("ts"));
  writeFileSync(join(folder, "app.js"), code);
  writeFileSync(join(folder, "app.js.map"), sourceMapText!);
  const { stdout, stderr } = spawnSync(process.execPath, ["--enable-source-maps", join(folder, "app.js")], {
    encoding: "utf8",
  });
  printed = `${stdout}${stderr}`.replaceAll(`${folder}/`, "").trim();
});

it("the report in the README is what its program prints", () => {
  expect(block("text").trim()).toBe(printed);
});

it("the examples of existing code run, and have nothing to report", () => {
  // Beside the README, where its imports resolve as in an application.
  const file = here("../readme-example.mjs");
  try {
    for (const [, example] of readme.matchAll(/```ts adapters\n([^]*?)```/g)) {
      writeFileSync(file, example!);
      const { stdout, stderr, status } = spawnSync(process.execPath, [file], { encoding: "utf8" });
      expect({ stdout, stderr, status }).toEqual({ stdout: "", stderr: "", status: 0 });
    }
  } finally {
    rmSync(file, { force: true });
  }
});

it("the picture is that of the report", async () => {
  const [splat] = parseKernelLog(printed);
  const svg = await graphSvg(splatGraph(splat!)!);
  expect(readFileSync(here("../deadlock.svg"), "utf8")).toBe(svg);
});
