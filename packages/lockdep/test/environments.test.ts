import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { build } from "vite";
import ts from "typescript";
import { afterAll, expect, it } from "vitest";

const source = fileURLToPath(new URL("../src/index.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "lockdep-env-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("the base entry needs nothing of Node: it runs with what every browser has", async () => {
  const built = await build({
    logLevel: "error",
    configFile: false,
    build: {
      lib: { entry: source, formats: ["iife"], name: "library", fileName: "library" },
      write: false,
      minify: false,
      target: "es2022",
    },
  });
  const [output] = (built as { output: { code: string }[] }[])[0]!.output;
  const seen: string[] = [];
  const browser = {
    performance: { now: () => 1 },
    console: { warn: (text: string) => seen.push(text) },
    URL,
    AbortSignal,
    setTimeout,
    clearTimeout,
    document: { currentScript: null, baseURI: "https://example.org/" },
    location: { href: "https://example.org/" },
  };
  runInNewContext(
    `${output!.code}
    const { Mutex, Task, lockdep } = library;
    lockdep.configure({ mode: "warn" });
    const [a, b] = [new Mutex("a"), new Mutex("b")];
    for (const [x, y] of [[a, b], [b, a]]) {
      const task = new Task("t");
      x.lock(task); y.lock(task); y.unlock(task); x.unlock(task);
    }`,
    browser,
  );
  expect(seen).toHaveLength(1);
  expect(seen[0]).toContain("possible circular locking dependency detected");
});

it("reports name the TypeScript that was written, by its source maps", async () => {
  await build({
    logLevel: "error",
    configFile: false,
    build: {
      lib: {
        entry: { index: source, node: fileURLToPath(new URL("../src/node/index.ts", import.meta.url)) },
        formats: ["es"],
      },
      outDir: folder,
      minify: false,
      target: "es2022",
      rolldownOptions: { external: [/^node:/] },
    },
  });
  const text = `import { Mutex, Task, lockdep } from "./index.js";
import { useSourceMaps } from "./node.js";

interface ThreeLines {
  thatVanish: string;
}

useSourceMaps();
lockdep.configure({ mode: (problem) => console.log(JSON.stringify(problem)) });
const [a, b]: [Mutex, Mutex] = [new Mutex("a"), new Mutex("b")];
function takeBoth(first: Mutex, second: Mutex, task: Task): void {
  void first.lock(task);
  void second.lock(task); // line 13
  second.unlock(task);
  first.unlock(task);
}
takeBoth(a, b, new Task("one"));
takeBoth(b, a, new Task("two"));
`;
  const { outputText, sourceMapText } = ts.transpileModule(text, {
    fileName: "app.ts",
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, sourceMap: true },
  });
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "app.ts"), text);
  // As a program that is built does: one module switches the maps on, and then loads the application.
  writeFileSync(join(folder, "app.js"), outputText);
  writeFileSync(join(folder, "app.js.map"), sourceMapText!);
  writeFileSync(
    join(folder, "main.js"),
    'import { useSourceMaps } from "./node.js"; useSourceMaps(); await import("./app.js");',
  );
  const problem = JSON.parse(
    execFileSync(process.execPath, [join(folder, "main.js")], { encoding: "utf8" }),
  ) as {
    acquiring: { at: { fn: string; file: string; line: number }[] };
  };
  const at = problem.acquiring.at.find((frame) => frame.fn === "takeBoth")!;
  expect(at.file).toBe(join(folder, "app.ts"));
  expect(at.line).toBe(13);
  expect(readFileSync(at.file, "utf8").split("\n")[at.line - 1]).toContain("line 13");
});
