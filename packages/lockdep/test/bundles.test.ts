import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";
import { rollup, type Plugin } from "rollup";
import { build as vite } from "vite";
import { afterAll, describe, expect, it } from "vitest";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "lockdep-bundles-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Locks without names, as an application has them; prints what the validator says of them. */
const application = `
import { lockdep, Mutex, RwSemaphore, Task } from "@vfiokit/lockdep";
import { Mutex as AsyncMutex } from "@vfiokit/lockdep/async-mutex";
const problems = [];
lockdep.configure({ mode: (problem) => problems.push(problem) });
const users = new AsyncMutex();
const orders = new AsyncMutex();
const a = new Mutex();
const b = new RwSemaphore();
const many = [1, 2, 3].map(() => new Mutex());
function takeBoth(first, second, task) {
  first(task);
  second(task);
}
async function main() {
  await users.runExclusive(() => orders.runExclusive(async () => {}));
  const t = new Task("t");
  takeBoth((task) => a.lock(task), (task) => b.downRead(task), t);
  b.upRead(t);
  a.unlock(t);
  const found = problems.length;
  (function wrongWay(task) { b.read(task); a.acquire(task); })(new Task("u"));
  const cycle = problems[0];
  console.log(JSON.stringify({
    found,
    kinds: problems.map(({ kind }) => kind),
    classes: new Set([a.className, b.className, ...many.map((lock) => lock.className)]).size,
    acquiring: cycle.acquiring.at.map(({ fn }) => fn),
    file: cycle.acquiring.at[0].file,
    holding: cycle.holding.at.map(({ fn }) => fn),
    class: cycle.acquiring.class,
  }));
}
main();
`;
const entry = join(folder, "app.js");
writeFileSync(entry, application);

/** Where the package's entries are: as its exports say. */
const library = (id: string): string | undefined => {
  const match = /^@vfiokit\/lockdep(\/[\w-]+)?$/.exec(id);
  return match ? join(dist, match[1] ?? "", "index.js") : undefined;
};

type Format = "esm" | "cjs";
interface Options {
  readonly format: Format;
  readonly minify: boolean;
  readonly sourcemap: boolean;
}

const bundlers: Record<string, (outfile: string, options: Options) => Promise<unknown>> = {
  esbuild: (outfile, { format, minify, sourcemap }) =>
    esbuild({
      entryPoints: [entry],
      outfile,
      format,
      minify,
      sourcemap,
      bundle: true,
      platform: "node",
      logLevel: "error",
      alias: {
        "@vfiokit/lockdep/async-mutex": library("@vfiokit/lockdep/async-mutex")!,
        "@vfiokit/lockdep": library("@vfiokit/lockdep")!,
      },
    }),
  rollup: async (file, { format, sourcemap }) => {
    const resolve: Plugin = { name: "resolve", resolveId: (id) => library(id) ?? null };
    const bundle = await rollup({ input: entry, external: [/^node:/], plugins: [resolve] });
    await bundle.write({ file, format, sourcemap });
  },
  vite: (outfile, { format, minify, sourcemap }) =>
    vite({
      logLevel: "error",
      configFile: false,
      plugins: [{ name: "resolve", enforce: "pre", resolveId: (id: string) => library(id) ?? null }],
      build: {
        lib: {
          entry,
          formats: [format === "esm" ? "es" : "cjs"],
          fileName: () => outfile.slice(folder.length + 1),
        },
        outDir: folder,
        emptyOutDir: false,
        minify: minify ? "esbuild" : false,
        sourcemap,
        rolldownOptions: { external: [/^node:/] },
      },
    }),
};

interface Printed {
  readonly found: number;
  readonly kinds: readonly string[];
  readonly classes: number;
  readonly acquiring: readonly string[];
  readonly holding: readonly string[];
  readonly file: string;
  readonly class: string;
}

function run(file: string, ...flags: string[]): Printed {
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, file], { encoding: "utf8" });
  expect(stderr).toBe("");
  return JSON.parse(stdout) as Printed;
}

const variants = Object.keys(bundlers).flatMap((bundler) =>
  (["esm", "cjs"] as const).flatMap((format) =>
    [false, true].flatMap((minify) =>
      bundler === "rollup" && minify
        ? []
        : [false, true].map((sourcemap) => ({ bundler, format, minify, sourcemap })),
    ),
  ),
);

describe.each(variants)(
  "bundled by $bundler as $format (minified: $minify, source map: $sourcemap)",
  (variant) => {
    it("locks without a name are of the class of the place that constructs them, and reports name the user's code", async () => {
      const { bundler, format, minify, sourcemap } = variant;
      const name = `${bundler}-${format}${minify ? "-min" : ""}${sourcemap ? "-map" : ""}`;
      const file = join(folder, `${name}.${format === "esm" ? "mjs" : "cjs"}`);
      await bundlers[bundler]!(file, variant);
      const plain = run(file);
      expect(plain.found).toBe(0); // users -> orders is no recursion
      expect(plain.kinds).toEqual(["cycle"]);
      expect(plain.classes).toBe(3);
      expect(plain.file).toBe(file);
      expect(plain.class).toMatch(new RegExp(`^${name}\\.[mc]js:\\d+:\\d+$`));
      if (!minify) expect([plain.acquiring[0], plain.holding[0]]).toEqual(["wrongWay", "wrongWay"]);
      if (sourcemap) {
        const mapped = run(file, "--enable-source-maps");
        expect(mapped.kinds).toEqual(["cycle"]);
        expect(mapped.classes).toBe(3);
        expect(mapped.class).toMatch(/^app\.js:\d+:\d+$/);
        expect(mapped.file).toBe(entry);
      }
    });
  },
);

it("a bundle works in a worker thread", async () => {
  const file = join(folder, "worker.mjs");
  await bundlers["esbuild"]!(file, { format: "esm", minify: true, sourcemap: false });
  const starter = join(folder, "starter.mjs");
  writeFileSync(
    starter,
    `import { Worker } from "node:worker_threads"; new Worker(${JSON.stringify(file)});`,
  );
  expect(run(starter)).toMatchObject({ found: 0, kinds: ["cycle"], classes: 3, file });
});

it("where stacks do not tell places, each unnamed lock is of a class of its own, and that is said once", () => {
  const program = `
    delete Error.captureStackTrace;
    Object.defineProperty(Error, "stackTraceLimit", { value: 0, writable: false });
    const { Mutex } = await import(${JSON.stringify(join(dist, "index.js"))});
    const [a, b] = [1, 2].map(() => new Mutex());
    console.log(JSON.stringify([a.className === b.className, a.className === a.className]));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    encoding: "utf8",
  });
  expect(JSON.parse(stdout)).toEqual([false, true]);
  expect(stderr.match(/this engine does not tell where locks are constructed/g)).toHaveLength(1);
});
